"""One site of a study, and one of its dictionaries: everything that work on them asks for, from one handle."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from concepts.codes import Codes, CodesOnDisk
from sae.encoder import Encoder, load_encoder, load_vectors, products_with
from sae.folder import CONFIG, WEIGHTS
from storage.records import read_record
from storage.site import Site
from storage.tables import Filters
from storage.vouch import vouched_files
from study.errors import StudyError
from study.paths import of_seed, split_ranges, split_runs, unit_name
from study.reading import cell_colours, label_areas
from study.saes import SHARED, TRAINED
from study.store import store_of
from study.study import Study

if TYPE_CHECKING:
    from sae.members import Member
    from sae.model import SAE
    from storage.activations import ActivationStore


class AtSite:
    """A site: its folder and device, what was recorded there, and what is labelled on its grid."""

    def __init__(self, study: Study, site: Site) -> None:
        self.study, self.site = study, site

    @property
    def folder(self) -> Path:
        """Of the site's SAEs, its statistics and its checkpoint's commit file."""
        return Path(self.study.root) / "saes" / self.site.path

    @cached_property
    def store(self) -> ActivationStore:
        """The study's activation store."""
        return store_of(self.study)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the block's residual update."""
        return self.store.shape(self.site)[:2]

    @property
    def channels(self) -> int:
        """Channels of the block's residual update: the width of its activations."""
        return self.store.shape(self.site)[2]

    @property
    def device(self) -> str:
        """Where the site's SAEs are trained and encode, as torch names it."""
        from study.devices import device_of  # imports torch, which whoever only asks a study does without

        return device_of(self.study, self.site)

    def maps(self, split: str, most: int | None = None) -> Iterator[tuple[range, np.ndarray]]:
        """The recorded activations of a split, or of its first ``most`` prompts, a shard's worth at a time.

        Prompt ids, and float16 [n, rows, columns, channels].
        """
        left = sys.maxsize if most is None else most
        for first, stop in split_runs(self.study, split):
            last = min(stop, first + left)
            if first < last:
                yield range(first, last), self.store.read(self.site, first, last)
            left -= last - first

    def areas(self, start: int, stop: int) -> dict[int, dict[str, np.ndarray]]:
        """Prompt id -> label -> int64 [cells], pixels of the label in each cell of the site's grid."""
        return label_areas(self.study, start, stop, self.grid)

    def areas_of_split(self, split: str) -> dict[int, dict[str, np.ndarray]]:
        """The same of all prompts of a split."""
        ranges = split_ranges(self.study, split)
        return {i: of_image for start, stop in ranges for i, of_image in self.areas(start, stop).items()}

    def colours(self, start: int, stop: int) -> dict[int, np.ndarray]:
        """Prompt id -> uint8 [cells, 3], mean colour of each cell of the site's grid."""
        return cell_colours(self.study, start, stop, self.grid)

    def member_folder(self, member: Member) -> Path:
        """``k<k>/`` for a dictionary; below it ``x<expansion>``, ``seed<seed>`` and a control's kind for the others."""
        folder = self.folder / f"k{member.k}"
        if member.n != self.study.config.sae.expansion[0] * self.channels:
            folder = folder / f"x{member.n // self.channels}"
        folder = of_seed(self.study, folder, member.seed)
        return folder if member.kind == TRAINED else folder / member.kind


class Dictionary(AtSite):
    """A (site, k): the dictionary that later stages use, and its relatives: the shared SAE and the controls."""

    def __init__(self, study: Study, site: Site, k: int) -> None:
        super().__init__(study, site)
        self.k = k

    @property
    def name(self) -> str:
        """Of its units in the records of training, labelling and layout."""
        return unit_name(self.site, self.k)

    @property
    def columns(self) -> dict[str, Any]:
        """The columns that name it in every site table."""
        return {**self.site.columns, "k": self.k}

    @property
    def filters(self) -> Filters:
        """What picks its rows of a site table."""
        return [*self.site.filters, ("k", "==", self.k)]

    @property
    def other_seed(self) -> int | None:
        """The seed of the second SAE of its kind, if there is one: a control of what the first has from its start."""
        config = self.study.config
        return config.seed + 1 if config.sae.seeds > 1 else None

    def folder_of(self, kind: str, seed: int | None = None) -> Path:
        """Of the SAE of that kind, of the study's seed unless another is given."""
        folder = self.folder / f"k{self.k}"
        folder = folder if kind == TRAINED else folder / kind
        return folder if seed is None else of_seed(self.study, folder, seed)

    def has(self, kind: str) -> bool:
        """Whether its record names an SAE of that kind; whether its files are there is for ``sae`` to say."""
        return self._below_root(self.folder_of(kind) / WEIGHTS) in self._named(kind)

    def sae(self, kind: str = TRAINED, seed: int | None = None) -> SAE:
        """The SAE of a kind on the site's device, its files compared with the record of the unit that wrote them.

        Of the kinds trained and shared there are further seeds, if ``sae.seeds`` asks for them.

        Raises ``StudyError`` if no record names it, ``SAEError`` for a file that is missing or damaged.
        """
        from sae.io import load_sae  # imports torch

        folder = self.folder_of(kind, seed)
        return load_sae(folder, self._digests(kind, folder)).to(self.device)

    def encoder(self, kind: str = TRAINED) -> Encoder:
        """What of the SAE of a kind encodes a few images, on the CPU and without PyTorch. Raises as ``sae`` does."""
        folder = self.folder_of(kind)
        return load_encoder(folder, self._digests(kind, folder))

    def vectors(self, kind: str = TRAINED) -> np.ndarray:
        """float32 [M, D]: the concept vectors of the SAE of a kind, in a fifth of the time that ``sae`` takes.

        Raises as ``sae`` does.
        """
        folder = self.folder_of(kind)
        return load_vectors(folder, self._digests(kind, folder))

    def cosines(self, cid: int, kind: str = TRAINED) -> np.ndarray:
        """float32 [M]: of each concept vector with that of one, all of unit length. Raises as ``sae`` does."""
        folder = self.folder_of(kind)
        return products_with(folder, self._digests(kind, folder), cid)

    def _digests(self, kind: str, folder: Path) -> dict[str, str]:
        """What a record says of an SAE's files. Raises ``StudyError`` if none names it."""
        named = self._named(kind)
        digests = {name: named.get(self._below_root(folder / name)) for name in (WEIGHTS, CONFIG)}
        if digests[WEIGHTS] is None:
            raise StudyError(f"{folder} holds no SAE that a record names: run `concepts train`")
        # Records of the first format named weights alone: what they left out is read as it is.
        return {name: digest for name, digest in digests.items() if digest is not None}

    def codes(self, sae: SAE, split: str) -> Iterator[Codes]:
        """The codes of a split, a shard's worth at a time, straight from the activation store."""
        from study.codes import encode_maps  # imports torch

        for ids, maps in self.maps(split):
            values, latents = encode_maps(sae.to(self.device), maps)
            if not np.isfinite(values).all():
                raise StudyError(
                    f"{self.study.root}: codes of prompts {ids[0]} to {ids[-1]} at {self.site.path} are not finite: "
                    "run `concepts verify` on this folder, then collect that shard and train that site again"
                )
            yield Codes(list(ids), values, latents)

    @contextmanager
    def codes_on_disk(self, sae: SAE, split: str) -> Iterator[CodesOnDisk]:
        """Encode a split once, to be read several times; the files are gone when the block ends.

        They go where ``tempfile`` puts them: set TMPDIR for a disk with room, 1.6 GB for 40,000 images of 256 cells,
        k 20.
        """
        with tempfile.TemporaryDirectory(prefix="codes-") as folder:
            codes = CodesOnDisk(Path(folder), sae.n)
            for part in self.codes(sae, split):
                codes.append(part)
            yield codes

    def _named(self, kind: str) -> dict[str, str]:
        stage, unit = ("share", self.site.series) if kind == SHARED else ("train", self.name)
        return vouched_files(read_record(self.study.root, stage, unit) or {})

    def _below_root(self, path: Path) -> str:
        return path.relative_to(self.study.root).as_posix()
