"""One site of a study, its dictionary, and the concepts in it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from concept_atlas.html import facts_table, overlaid, picture, row_of
from concepts.scan import example_map
from storage.site import Site
from storage.tables import Filters, read_table
from study.errors import StudyError
from study.reading import images_by_id, label_masks, refuse_unknown_prompt
from study.saes import SHARED, TRAINED
from study.store import store_of
from study.study import Study

if TYPE_CHECKING:
    import dask.array

    from sae.encoder import Encoder
    from sae.model import SAE
    from study.at import Dictionary

KINDS = (TRAINED, SHARED)
DIMENSIONS = ("prompt", "row", "column", "channel")
COSINE, COACTIVATION = "cosine", "coactivation"  # what concepts are near by
SHOWN_LABELS, SHOWN_CONCEPTS = 8, 20


@dataclass(frozen=True)
class Codes:
    """An image's codes at one site: ``values`` float32 and ``cids`` int64, both [rows, columns, k]; 0 is off."""

    values: np.ndarray
    cids: np.ndarray

    def map(self, cid: int) -> np.ndarray:
        """float32 [rows, columns]: how strongly one concept is on in each place."""
        return np.where(self.cids == cid, self.values, 0.0).sum(-1).astype(np.float32)

    def strongest(self, n: int = 10) -> list[int]:
        """The concepts with the largest sums over the image, largest first."""
        sums = np.bincount(self.cids.ravel(), self.values.ravel())
        order = np.argsort(-sums, kind="stable")[:n]
        return [int(cid) for cid in order if sums[cid] > 0]


@dataclass(frozen=True)
class Example:
    """An image that excites a concept: ``bin`` 0 holds the strongest images; ``map`` float32 [rows, columns]."""

    prompt_id: int
    caption: str
    image: Image.Image
    map: np.ndarray
    bin: int
    rank: int


class SiteView:
    """One (block, t, conditioning) and a dictionary of ``k`` latents on: its own, or the one of all times."""

    def __init__(self, study: Study, site: Site, k: int, kind: str = TRAINED) -> None:
        self._study, self.site, self.k, self.kind = study, site, k, kind
        self.path = site.path
        self._filters: Filters = [*site.filters, ("k", "==", k)]

    @cached_property
    def _here(self) -> Dictionary:
        return self._study.at(self.site, self.k)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and channels of the block's residual update."""
        return store_of(self._study).shape(self.site)

    @property
    def activations(self) -> dask.array.Array:
        """float16 [prompt, row, column, channel], a chunk a shard, read when computed and checked as it is.

        Its ``dimension_names`` tell the axes. Raises ``StorageError`` while it is computed if a shard is damaged.
        """
        import dask.array

        store = store_of(self._study)
        ranges = [store.shard_range(shard) for shard in range(store.n_shards)]
        shape = store.shape(self.site)
        blocks = [
            dask.array.from_delayed(
                dask.delayed(store.read, pure=True)(self.site, start, stop), (stop - start, *shape), np.float16
            )
            for start, stop in ranges
        ]
        whole = dask.array.concatenate(blocks)
        whole.dimension_names = DIMENSIONS
        return whole

    @cached_property
    def sae(self) -> SAE:
        """The dictionary, its files compared with the study's record."""
        return self._here.sae(self.kind)

    @cached_property
    def _encoder(self) -> Encoder:
        """What encodes an image: half of the dictionary, and nothing of PyTorch."""
        return self._here.encoder(self.kind)

    def codes(self, prompt_id: int) -> Codes:
        """Which concepts are on in each place of an image, and how strongly."""
        refuse_unknown_prompt(self._study, prompt_id)
        return self._codes(prompt_id, prompt_id + 1)[prompt_id]

    def codes_around(self, prompt_id: int) -> dict[int, Codes]:
        """Prompt id -> codes of an image and of all that are stored in one shard with it, at the price of a few."""
        refuse_unknown_prompt(self._study, prompt_id)
        store = store_of(self._study)
        ranges = (store.shard_range(shard) for shard in range(store.n_shards))
        return self._codes(*next((start, stop) for start, stop in ranges if start <= prompt_id < stop))

    def _codes(self, start: int, stop: int) -> dict[int, Codes]:
        """Of the images from ``start`` to ``stop``, which is left out."""
        maps = store_of(self._study).read(self.site, start, stop)
        values, latents = self._encoder.encode(maps.reshape(-1, maps.shape[-1]))
        shape = (*maps.shape[:3], values.shape[-1])
        of_each = zip(values.reshape(shape), latents.reshape(shape), strict=True)
        return {prompt_id: Codes(*codes) for prompt_id, codes in enumerate(of_each, start)}

    def layouts(self, prompt_id: int, codes: Codes | None = None) -> dict[str, np.ndarray]:
        """Label -> bool [rows, columns]: where each label of an image is predicted by its codes (method ``evidence``).

        Of the labels that segments show and that `concepts layout` has learnt a threshold for, on the dictionary split;
        not of those that fill the image. ``codes``: the image's, if they are known.
        """
        from concepts.layout import evidence_scores

        masks = label_masks(self._study, prompt_id, prompt_id + 1).get(prompt_id, {})
        wanted = [label for label in sorted(masks) if label in self._thresholds and not masks[label].all()]
        if not wanted:
            return {}
        codes = self.codes(prompt_id) if codes is None else codes
        values_CK, cids_CK = (of.reshape(-1, of.shape[-1]) for of in (codes.values, codes.cids))
        precisions = self._precisions(wanted)
        found = {label: evidence_scores(values_CK, cids_CK, precisions[label]) for label in wanted}
        return {
            label: (scores_C >= self._thresholds[label]).reshape(codes.cids.shape[:2])
            for label, scores_C in found.items()
        }

    @cached_property
    def _thresholds(self) -> dict[str, float]:
        """Label -> the score of the method ``evidence`` from which a cell is predicted."""
        filters: Filters = [*self._filters, ("kind", "==", self.kind), ("method", "==", "evidence")]
        rows = read_table(self._study.root, "layout_scores", ["label", "threshold"], filters).to_pylist()
        return {row["label"]: row["threshold"] for row in rows if row["threshold"] is not None}

    def _precisions(self, labels: list[str]) -> dict[str, np.ndarray]:
        """Label -> P(label | concept on) of each concept, float64; 0 for one that never met the label."""
        found = {label: np.zeros(self._encoder.n) for label in labels}
        for label, precisions in found.items():
            rows = self._met.filter(pc.equal(self._met["label"], label))
            precisions[rows["cid"].to_numpy()] = rows["precision"].to_numpy()
        return found

    @cached_property
    def _met(self) -> pa.Table:
        """Every label that a concept of the dictionary met, read once for the layouts of many images."""
        filters: Filters = [*self._filters, ("kind", "==", self.kind)]
        return read_table(self._study.root, "concept_labels", ["cid", "label", "precision"], filters)

    @cached_property
    def vectors(self) -> np.ndarray:
        """float32 [concepts, channels]: each concept's direction in the residual update, of unit length."""
        if "sae" in self.__dict__:  # it has been read: no need to hold them twice
            return np.asarray(self.sae.concept_vectors().cpu().numpy())
        return self._here.vectors(self.kind)

    def nearest(self, cid: int, n: int = 8) -> list[tuple[int, float]]:
        """The ``n`` other concepts whose vectors have the largest cosine with that of one, and that cosine."""
        read = "sae" in self.__dict__ or "vectors" in self.__dict__
        cosines = self.vectors @ self.vectors[cid] if read else self._here.cosines(cid, self.kind)
        others = [int(other) for other in np.argsort(-cosines, kind="stable") if other != cid]
        return [(other, float(cosines[other])) for other in others[:n]]

    def metrics(self) -> pa.Table:
        """The rows of ``sae_metrics`` of this site and k: the dictionary, its further seeds and its controls."""
        return read_table(self._study.root, "sae_metrics", filters=self._filters)

    def concepts(self, label: str | None = None) -> pa.Table:
        """The rows of ``concepts`` (``shared_concepts`` of the dictionary of all times).

        With a label, the rows of ``concept_labels`` of the concepts that it was given to, best first: by the IoU of the
        half of the images that it was given on.
        """
        if label is None:
            table = "concepts" if self.kind == TRAINED else "shared_concepts"
            return read_table(self._study.root, table, filters=self._filters)
        of_label: Filters = [*self._filters, ("kind", "==", self.kind), ("label", "==", label)]
        of_label.append(("assigned", "==", True))
        rows = read_table(self._study.root, "concept_labels", filters=of_label)
        return rows.sort_by([("iou_selection", "descending"), ("cid", "ascending")])

    def concept(self, cid: int) -> Concept:
        """One concept of a site's own dictionary. Raises ``StudyError`` for a number that it does not have."""
        if self.kind != TRAINED:
            raise StudyError(
                "examples and cards are of the dictionaries of single times: leave out kind, or ask concepts(), "
                "codes() and the table concept_labels of kind 'shared'"
            )
        return Concept(self, cid)

    def __repr__(self) -> str:
        return f"<SiteView {self.path}, k = {self.k}, {self.kind}, of {self._study.root}>"

    def _repr_html_(self) -> str:
        rows, columns, channels = self.shape
        labels = read_table(
            self._study.root,
            "concept_labels",
            ["cid", "label", "iou_selection"],
            [*self._filters, ("kind", "==", self.kind), ("assigned", "==", True)],
        ).sort_by([("iou_selection", "descending"), ("cid", "ascending")])
        shown = [f"{row['label']} ({row['cid']})" for row in labels.slice(0, SHOWN_CONCEPTS).to_pylist()]
        facts: dict[str, Any] = {"grid": f"{rows} x {columns}, {channels} channels", "k": self.k}
        own = self.metrics().filter(pc.field("kind") == self.kind).to_pylist()
        if own:
            facts["explained variance, held out"] = f"{own[0]['explained_variance']:.3f}"
        facts["labelled concepts, best first"] = ", ".join(shown) or "none yet"
        return facts_table(f"Site {self.path}", facts)


class Concept:
    """One latent of a site's dictionary, as the tables describe it."""

    def __init__(self, view: SiteView, cid: int) -> None:
        self._view, self._study, self.cid = view, view._study, cid
        self._filters: Filters = [*view._filters, ("cid", "==", cid)]
        rows = read_table(self._study.root, "concepts", filters=self._filters).to_pylist() if cid >= 0 else []
        if not rows:
            there = view.concepts().num_rows
            known = f"name one from 0 to {there - 1}" if there else "run `concepts label` first"
            raise StudyError(f"{view.path} has no concept {cid}: {known}")
        self.facts: dict[str, Any] = rows[0]

    @property
    def labels(self) -> pa.Table:
        """Its rows of ``concept_labels``: those it was given first, then by the IoU of the half that gave them."""
        rows = read_table(self._study.root, "concept_labels", filters=[*self._filters, ("kind", "==", TRAINED)])
        return rows.sort_by([("assigned", "descending"), ("iou_selection", "descending"), ("label", "ascending")])

    @property
    def examples(self) -> list[Example]:
        """The images kept of each bin of its activation, strongest first."""
        rows = read_table(self._study.root, "concept_examples", filters=self._filters)
        rows = rows.sort_by([("bin", "ascending"), ("rank", "ascending")])
        ids = rows["prompt_id"].to_pylist()
        images = images_by_id(self._study, ids)
        prompts = read_table(self._study.root, "prompts", ["prompt_id", "caption"], [("prompt_id", "in", ids)])
        captions = dict(zip(*prompts.to_pydict().values(), strict=True))
        return [
            Example(i, captions[i], Image.fromarray(images[i]), example_map(row), row["bin"], row["rank"])
            for i, row in zip(ids, rows.to_pylist(), strict=True)
        ]

    @property
    def partners(self) -> pa.Table:
        """The rows of ``concept_matches`` that lead from it to the next time, and to it from the time before."""
        block, t, conditioning = self._view.site
        common: Filters = [("block", "==", block), ("conditioning", "==", conditioning), ("k", "==", self._view.k)]
        common.append(("kind", "==", TRAINED))
        onward = read_table(
            self._study.root, "concept_matches", filters=[*common, ("t_from", "==", t), ("cid_from", "==", self.cid)]
        )
        back = read_table(
            self._study.root, "concept_matches", filters=[*common, ("t_to", "==", t), ("cid_to", "==", self.cid)]
        )
        return pa.concat_tables([back, onward])

    @property
    def vector(self) -> np.ndarray:
        """float32 [channels]: its direction in the residual update, of unit length."""
        return np.asarray(self._view.vectors[self.cid])

    @cached_property
    def activity(self) -> dict[str, Any]:
        """Its row of ``concept_activity``: how often it fires how strongly, and which concepts fire where it does.

        Raises ``StudyError`` where the study was labelled before that was counted.
        """
        rows = read_table(self._study.root, "concept_activity", filters=self._filters).to_pylist()
        if not rows:
            raise StudyError(
                f"{self._study.root} was labelled before activations were counted: `concepts revise` and then "
                "`concepts run` label it anew"
            )
        return rows[0]

    def nearest(self, n: int = 8, by: str = COSINE) -> list[tuple[int, float]]:
        """The ``n`` other concepts of its site that are nearest, and how near, nearest first.

        ``by`` "cosine": of their vectors with its own. "coactivation": positions where both fire over those where
        either does; never more than the eight that ``activity`` names. Raises ``StudyError`` for another word.
        """
        if by == COSINE:
            return self._view.nearest(self.cid, n)
        if by == COACTIVATION:
            return list(zip(self.activity["coactive"], self.activity["coactivation"], strict=True))[:n]
        raise StudyError(f"by is {by!r}: give one of {COSINE!r}, {COACTIVATION!r}")

    def card(self) -> Image.Image:
        """Its card, as ``concepts card`` draws it; nothing is written into the study."""
        from figures.cards import concept_card  # imports matplotlib
        from tasks.cards import card_of

        with tempfile.TemporaryDirectory(prefix="concept-card-") as folder:
            path = Path(folder) / "card.png"
            concept_card(card_of(self._study.root, self._view.site, self._view.k, self.cid), path)
            with Image.open(path) as drawn:
                return drawn.copy()

    def __repr__(self) -> str:
        return f"<Concept {self.cid} of {self._view.path}, k = {self._view.k}: {self.facts['top_label'] or 'no label'}>"

    def _repr_html_(self) -> str:
        labels = self.labels.slice(0, SHOWN_LABELS).to_pylist()
        said = ", ".join(
            f"{r['label']} ({r['iou_selection']:.2f}{'' if r['assigned'] else ', not given'})" for r in labels
        )
        facts = {
            "labels, with the IoU that gave them": said or "none",
            "images where it fires": self.facts["n_images"],
            "largest activation": f"{self.facts['act_max']:.3g}",
            "broader label": self.facts["parent"] or "none",
        }
        strongest = [e for e in self.examples if e.bin == 0]
        pictures = [
            picture(overlaid(np.asarray(e.image), e.map, self.facts["act_max"]), f"{e.prompt_id}: {e.caption}")
            for e in strongest
        ]
        title = f"Concept {self.cid} of {self._view.path}, k = {self._view.k}"
        return facts_table(title, facts) + row_of(pictures)
