"""A study folder, opened to be read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image

from concept_atlas.changes import Changes
from concept_atlas.edited import Edited
from concept_atlas.html import facts_table
from concept_atlas.kept import edits_beside, kept_picture, kept_pictures, kept_rows
from concept_atlas.site import KINDS, Codes, SiteView
from sae.folder import WEIGHTS
from storage.schemas import SCHEMAS, WRITERS
from storage.site import Site
from storage.tables import Filters, KnownParts, count_rows, read_table, table_folder
from storage.vouch import hash_ahead
from study.errors import StudyError
from study.imports import import_kept
from study.opening import recorded_study, study_with_models
from study.reading import images_of, label_masks, prompts_of, refuse_unknown_prompt, study_labels
from study.saes import TRAINED
from study.stages import STAGES, stages_of
from study.status import done_units, expected_units
from study.study import Study

if TYPE_CHECKING:
    import pandas
    import polars

    from storage.query import OpenTables
    from study.embedder import Meanings

FORMS = ("arrow", "pandas", "polars")


def open(root: str | Path) -> Atlas:  # as in gzip.open
    """The study in a folder. Raises ``StorageError`` for a folder that holds none."""
    return Atlas(recorded_study(root))


def meanings(table: str) -> dict[str, str]:
    """What each column of a table means, in a sentence. Raises ``StorageError`` for a name that is no table's."""
    table_folder("", table)
    return {field.name: field.metadata[b"description"].decode() for field in SCHEMAS[table]}


def writer_of(table: str) -> str:
    """The command that writes a table, as in ``label``. Raises ``StorageError`` for a name that is no table's."""
    table_folder("", table)
    return STAGES[WRITERS[table][0]].command


class Progress(NamedTuple):
    """How many of a stage's units are done, and the command that does the others."""

    stage: str
    command: str
    done: int
    units: int


class Atlas:
    """What a study holds. Nothing is read before it is asked for, and nothing is ever written."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self.root, self.name = Path(study.root), study.config.name
        self._records = Changes(self.root / "done")
        self._known: KnownParts | None = None
        self._meanings: dict[tuple[str, ...], Meanings] = {}  # of the settings that were asked for last
        self._embedding = threading.Lock()  # who asks meanwhile waits, and loads no second embedder

    def query(self, sql: str, to: str = "arrow") -> pa.Table | pandas.DataFrame | polars.DataFrame:
        """The answer to one SQL statement over the tables, as an Arrow table, or ``to`` "pandas" or "polars".

        Raises ``StorageError`` for a statement that does not read or fails, ``StudyError`` for another ``to`` or where
        that package is not installed.
        """
        if to not in FORMS:
            raise StudyError(f"to is {to!r}: give one of {', '.join(map(repr, FORMS))}")
        from storage.query import query  # DuckDB takes a tenth of a second to import, and much is read without it

        answer = query(self.root, sql)
        try:
            if to == "pandas":
                return answer.to_pandas()
            if to == "polars":
                import polars

                return polars.from_arrow(answer)
        except ImportError as error:
            raise StudyError(f"{to} is not installed: `pip install {to}`") from error
        return answer

    def rows(
        self, table: str, columns: Sequence[str] | None = None, where: Mapping[str, Any] | None = None
    ) -> pa.Table:
        """The rows of a table, sorted by its key, whose columns have the values that ``where`` names: one, or a list.

        Quicker than a query, which opens a database. Raises ``StorageError`` for a name that is no table's or a table
        that is damaged, ``StudyError`` for a column that the table lacks.
        """
        table_folder(self.root, table)
        known = SCHEMAS[table].names
        if odd := [name for name in (*(columns or ()), *(where or ())) if name not in known]:
            raise StudyError(f"table {table} has no column {odd[0]!r}: it has {', '.join(known)}")
        filters: Filters = [
            (name, "in" if isinstance(value, Collection) and not isinstance(value, str | bytes) else "==", value)
            for name, value in (where or {}).items()
        ]
        wanted = None if columns is None else list(columns)
        return read_table(self.root, table, wanted, filters or None, self._known)

    def open_tables(self, *tables: str) -> OpenTables:
        """Tables opened once, for many statements of SQL by its ``query``: a short one takes a third of the time.

        Raises ``StorageError`` for a name that is no table's.
        """
        from storage.query import OpenTables

        return OpenTables(self.root, tables, known=self._known)

    def hold_parts(self) -> None:
        """Look up once which parts each table has, for a reader who calls this again when ``stamp`` has changed.

        Else the records are read for each call of ``rows`` and each statement of ``open_tables``.
        """
        self._known = KnownParts(self.root)

    def check_ahead(self, tables: Sequence[str], most_bytes: int) -> int:
        """Hash the parts of tables and the dictionaries now, so that who reads them first need not wait for it.

        As many as fit into ``most_bytes``; returns how many bytes that was. What is damaged is told to who reads it.
        Zarr and DuckDB are imported, too, which the first to read an activation or to ask in SQL would wait for.
        Raises ``StorageError`` for a name that is no table's or a damaged record.
        """
        for table in tables:
            table_folder(self.root, table)
        import_kept("storage.activations", "storage.query")
        known = self._known or KnownParts(self.root)
        dictionaries = [self._study.at(site, k).folder_of(TRAINED) / WEIGHTS for site in self.sites for k in self.ks]
        return hash_ahead([*dictionaries, *(path for table in tables for path in known.named(table))], most_bytes)

    @property
    def progress(self) -> list[Progress]:
        """Each stage of `concepts run`, in order, and how many of its units are done under the present settings."""
        expected = expected_units(self.root)
        done = done_units(self._study, list(expected))
        return [Progress(s.name, s.command, done[s.name], expected[s.name]) for s in stages_of("run")]

    @property
    def stamp(self) -> tuple[int, ...]:
        """Times of change of the settings and of each folder of records: the same while nothing was written."""
        return (self.root / "study.yaml").stat().st_mtime_ns, *self._records.times()

    @property
    def ks(self) -> list[int]:
        """How many latents the dictionaries keep on at each position: one of each at every site."""
        return list(self._study.config.sae.k)

    @property
    def sites(self) -> list[Site]:
        """Every (block, t, conditioning) that activations were recorded at."""
        return self._study.config.sites_list()

    @property
    def tables(self) -> dict[str, int]:
        """Each table's number of rows; docs/tables.md says what the columns mean."""
        return {table: count_rows(self.root, table) for table in SCHEMAS}

    def at(
        self, block: str, t: float, conditioning: str = "cond", k: int | None = None, kind: str = TRAINED
    ) -> SiteView:
        """One site, and its dictionary of ``k`` latents on, which may be left out where there is but one.

        ``t`` counts to two decimals, as folders have it. With the ``kind`` "shared" the dictionary is that of all times
        together, where a concept is one direction at every time. Raises ``StudyError`` naming the sites, k and kinds
        that there are.
        """
        if kind not in KINDS:
            raise StudyError(f"kind is {kind!r}: give one of {', '.join(map(repr, KINDS))}")
        wanted = Site(block, t, conditioning).path
        by_path = {site.path: site for site in self.sites}
        if wanted not in by_path:
            raise StudyError(f"{self.root} has no site {wanted}: it has {', '.join(by_path)}")
        there = self._study.config.sae.k
        if k is None and len(there) == 1:
            k = there[0]
        if k not in there:
            raise StudyError(f"{self.root} has SAEs of k = {', '.join(map(str, there))}: name one of them")
        return SiteView(self._study, by_path[wanted], k, kind)

    def caption(self, prompt_id: int) -> str:
        """What an image was sampled from."""
        refuse_unknown_prompt(self._study, prompt_id)
        return str(prompts_of(self._study, prompt_id, prompt_id + 1)["caption"][0])

    def image(self, prompt_id: int) -> Image.Image:
        """An image of the study. Raises ``StudyError`` for one that was not kept: of the train split few are."""
        refuse_unknown_prompt(self._study, prompt_id)
        images = images_of(self._study, prompt_id, prompt_id + 1)
        if prompt_id not in images:
            raise StudyError(
                f"the image of prompt {prompt_id} was not kept: of the train split only the first are, unless "
                "sampling.train_images asks for all"
            )
        return Image.fromarray(images[prompt_id])

    def segments(self, prompt_id: int) -> dict[str, np.ndarray]:
        """Label -> bool [rows, columns] of the image's pixels, all its segments together; empty for no segment."""
        refuse_unknown_prompt(self._study, prompt_id)
        return label_masks(self._study, prompt_id, prompt_id + 1).get(prompt_id, {})

    def codes(self, prompt_id: int, block: str, t: float, conditioning: str = "cond", k: int | None = None) -> Codes:
        """Which concepts are on in each place of an image at a site, and how strongly."""
        return self.at(block, t, conditioning, k).codes(prompt_id)

    def nearest_labels(self, words: str, n: int = 8, settings: Sequence[str] = ()) -> list[tuple[str, float]]:
        """The ``n`` labels of the dictionary split nearest in meaning to any words, and how near, nearest first.

        By the cosine of vectors from the study's own embedder (``labels.embedder``), centred where the study centres
        them. The first call loads it and embeds every label. ``settings`` tell where the study's models are by now, as
        in ``["model.path=FOLDER"]``. Raises an ``AtlasError`` where it is not there, or cannot read the words.
        """
        with self._embedding:
            if tuple(settings) not in self._meanings:
                from study.embedder import Meanings

                study = study_with_models(self.root, settings)
                self._meanings = {tuple(settings): Meanings(study.config, study_labels(study))}
            return self._meanings[tuple(settings)].nearest(words, n)

    def edit(
        self,
        prompt: str,
        concept: str | int | Sequence[str | int] = (),
        window: str | None = None,
        strength: float | None = None,
        *,
        region: str | Path | None = None,
        feather: float = 0.0,
        block: str | Sequence[str] = (),
        operation: str | None = None,
        instead_of: str | int | Sequence[str | int] = (),
        half: str = "cond",
        schedule: str | Mapping[float, float] | Sequence[tuple[float, float]] | None = None,
        quantile: float | None = None,
        parts: Sequence[Mapping[str, Any]] = (),
        seed: int | None = None,
        judge: bool = True,
        controls: int = 1,
        settings: Sequence[str] = (),
        keep: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Edited:
        """One image sampled anew, edited by concepts, and under a control of the same norm: `concepts edit` in Python.

        ``concept``: labels or numbers of concepts. Without a ``region`` the edit is global. ``parts``: an edit of
        several, each a mapping of what is otherwise given from ``concept`` to ``quantile``. ``settings`` tell where
        the study's models are by now, as in ``["model.path=FOLDER"]``. ``keep``: write it where `concepts edit` does,
        the study's own name with -edits, beside the study, or take it from there. ``progress`` is
        called with how many steps of the images are done, and of how many. docs/commands.md says what the others mean.
        Raises an ``AtlasError`` for what cannot be done, before a model is loaded where tables can tell.
        """
        from tasks.edit_files import edit_into  # imports torch
        from tasks.edit_request import request_of
        from tasks.one_edit import make_edit

        request = request_of(
            prompt=prompt,
            concept=concept,
            window=window,
            strength=strength,
            feather=feather,
            block=block,
            operation=operation,
            instead_of=instead_of,
            half=half,
            seed=seed,
            region=region,
            schedule=schedule,
            quantile=quantile,
            parts=[dict(part) for part in parts],
            judge=judge,
            controls=controls,
        )
        study = study_with_models(self.root, settings)
        if keep:
            return Edited(edit_into(study, request, edits_beside(self.root), progress)[0])
        return Edited(make_edit(study, request, progress))

    @property
    def kept_edits(self) -> list[dict[str, Any]]:
        """The rows of the edits that were kept beside the study, newest first, without damaged ones."""
        return kept_rows(self.root)

    def kept_pictures(self, name: str) -> dict[str, bytes]:
        """The PNGs "before", "after" and "control" of a kept edit. Raises ``StudyError`` where they are not whole."""
        return kept_pictures(self.root, name)

    def kept_picture(self, name: str, picture: str) -> bytes:
        """One of these. Raises ``StudyError`` where it is not what was written, or an edit has no such picture."""
        return kept_picture(self.root, name, picture)

    @property
    def keeps_edited_images(self) -> bool:
        """Whether the table ``interventions`` holds the edited images, as `interventions.keep_images` has it."""
        return self._study.config.interventions.keep_images

    @property
    def windows(self) -> dict[str, tuple[float, float]]:
        """The windows of the study's settings: name -> (lowest, highest diffusion time)."""
        return {name: (low, high) for name, (low, high, _) in self._study.config.interventions.windows.items()}

    @property
    def looks(self) -> tuple[str, ...]:
        """What the study's judge tells of a whole image, as in night; other labels have a place."""
        return tuple(self._study.config.interventions.styles)

    def detection_and_cause(self, samples: int = 2000) -> pa.Table:
        """Whether the concepts that detect their labels well are those that bring them about, by kind, window and site.

        Of concepts that `concepts atlas` has tried: the rank correlation of ``iou_heldout`` and ``above_random`` (view
        ``concept_scores``) with its 95 % interval over ``samples`` resamples of concepts, and how often the best
        detector of a label is its best cause, beside chance. No row where none was tried.
        """
        from concepts.detect_cause import SCHEMA, detection_and_cause
        from storage.query import query

        rows = query(self.root, "from concept_scores where kind is not null order by all").to_pylist()
        return pa.Table.from_pylist(detection_and_cause(rows, samples, self._study.config.seed), schema=SCHEMA)

    def __repr__(self) -> str:
        return f"<Atlas of study {self.name!r} in {self.root}: {len(self.sites)} sites>"

    @property
    def facts(self) -> dict[str, str]:
        """What the study is of, in words: its folder, model, prompts of each split, sites and k."""
        config = self._study.config
        return {
            "folder": str(self.root),
            "model": config.model.path.rstrip("/").rsplit("/", 1)[-1],
            "prompts": ", ".join(f"{name} {size:,}" for name, size in config.prompts.splits.items()),
            "sites": ", ".join(site.path for site in self.sites),
            "k": ", ".join(map(str, config.sae.k)),
        }

    def _repr_html_(self) -> str:
        labels = ", ".join(sorted(set(self._labels()))) or "not labelled yet"
        return facts_table(f"Study {self.name}", {**self.facts, "labels": labels})

    def _labels(self) -> list[str]:
        filters = [("kind", "==", "trained"), ("assigned", "==", True)]
        return [str(label) for label in read_table(self.root, "concept_labels", ["label"], filters)["label"]]
