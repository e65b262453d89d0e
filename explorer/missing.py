"""Addresses of what does not exist, and what is nearest to them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from explorer.addresses import At, label_url
from explorer.source import Source

NEAREST, BEST = 5, 4
CARRIED = f"""
select label, block, t, conditioning, k, cid, iou_selection, iou_heldout
from concept_labels where kind = 'trained' and assigned
qualify row_number() over (partition by label order by iou_selection desc, block, t, conditioning, k, cid) <= {BEST}
order by label, iou_selection desc, block, t, conditioning, k, cid"""


@dataclass
class Missing(Exception):
    """A page that is not there: a sentence, and links (name, address) to the nearest that are."""

    said: str
    nearest: tuple[tuple[str, str], ...] = ()


def close(word: str, known: Iterable[str], cutoff: float = 0.3) -> list[str]:
    """Of known words those that look most like one, best first; without any, the first of all."""
    words = list(known)
    return difflib.get_close_matches(word[:100], words, NEAREST, cutoff) or words[:NEAREST]


def site_of(source: Source, block: str, t: str, conditioning: str, k: str) -> At:
    """The dictionary that an address names. Raises ``Missing`` naming the nearest ones."""
    known = {at.path: at for at in every_dictionary(source)}
    wanted = f"{block}/{t}/{conditioning}/k{k}"
    if wanted not in known:
        near = tuple((path, f"/{path}/0") for path in close(wanted, known))
        raise Missing(f"This study has no dictionary {wanted}.", near)
    return known[wanted]


def named(source: Source, text: str) -> tuple[At, int | None]:
    """A dictionary, as ``mid/0.50/cond/k10``, or a concept, with its number behind it. Raises ``Missing``."""
    parts = text.strip("/").split("/")
    if len(parts) not in (4, 5):
        shown = f"{text[:80]} is neither a dictionary, as mid/0.50/cond/k10, nor a concept, as mid/0.50/cond/k10/7."
        raise Missing(shown, (("compare", "/compare"),))
    block, t, conditioning, k = parts[:4]
    at = site_of(source, block, t, conditioning, k.removeprefix("k"))
    return at, cid_of(source, at, parts[4]) if len(parts) == 5 else None


def every_dictionary(source: Source) -> list[At]:
    """One for each site and k, in the order of the configuration."""
    atlas = source.atlas
    return [At(site.block, site.t, site.conditioning, k) for site in atlas.sites for k in atlas.ks]


def number_of(text: str, what: str) -> int:
    """A number from an address. Raises ``Missing`` for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Missing(f"{text[:40]} is no number of {what}.")
    return int(text)


def cid_of(source: Source, at: At, text: str) -> int:
    """The concept that an address names. Raises ``Missing`` naming the nearest ones."""
    cid = number_of(text, "a concept")
    there = concepts_of(source, at)
    if not there:
        raise Missing(f"{at.path} has no concepts yet: `concepts label` describes them.", (("the study", "/"),))
    if cid not in there:
        near = sorted(there, key=lambda known: (abs(known - cid), known))[:NEAREST]
        links = tuple((f"{at.path}/{known}", at.url(known)) for known in near)
        raise Missing(f"{at.path} has no concept {cid}: they go from {min(there)} to {max(there)}.", links)
    return cid


class Known(NamedTuple):
    """Of a concept the best label that it was given, or None, its largest activation, and how often it fires."""

    label: str | None
    act_max: float
    density: float


class Concepts(Mapping[int, Known]):
    """CID -> what lists say of a concept, of one dictionary, in the order of numbers.

    Each is looked up when it is asked for: a page needs a few of thousands.

    Attributes: ``densities`` float64 [concepts], in that order.
    """

    def __init__(self, rows: pa.Table) -> None:
        self._cids, self._labels = rows["cid"].to_numpy(), rows["top_label"]
        self._tops, self.densities = rows["act_max"].to_numpy(), rows["density"].to_numpy()

    def __getitem__(self, cid: int) -> Known:
        place = int(np.searchsorted(self._cids, cid))
        if place == len(self._cids) or self._cids[place] != cid:
            raise KeyError(cid)
        return Known(self._labels[place].as_py(), float(self._tops[place]), float(self.densities[place]))

    def among(self, cids: np.ndarray) -> dict[int, Known]:
        """Those of some numbers, int64 [numbers], that there are, in that order: thousands in a few milliseconds."""
        own = cids[np.isin(cids, self._cids)]
        places = np.searchsorted(self._cids, own)
        columns = (self._labels.take(places).to_pylist(), self._tops[places].tolist(), self.densities[places].tolist())
        return dict(zip(own.tolist(), map(Known, *columns), strict=True))

    def __iter__(self) -> Iterator[int]:
        return iter(self._cids.tolist())

    def __len__(self) -> int:
        return len(self._cids)


def concepts_of(source: Source, at: At) -> Concepts:
    """What lists say of the concepts of a dictionary; read once."""
    columns = ["cid", "top_label", "act_max", "density"]
    return source.kept(f"concepts {at.path}", lambda: Concepts(source.atlas.rows("concepts", columns, at.columns)))


def prompts_of(source: Source) -> pa.Table:
    """Every prompt: its number, ascending, caption, split and seed. Read and kept once, 20 MB of a full study."""
    return source.arrow("prompts", ["prompt_id", "caption", "split", "seed"])


def image_of(source: Source, text: str) -> dict[str, object]:
    """The row of ``prompts`` that an address names. Raises ``Missing`` naming the nearest images."""
    prompt_id = number_of(text, "an image")
    prompts = prompts_of(source)
    if not prompts.num_rows:
        raise Missing("No prompts are drawn yet: `concepts collect` draws them.", (("the study", "/"),))
    there = prompts["prompt_id"].to_numpy()  # ascending, and 246,000 in a study of full size
    place = int(np.searchsorted(there, prompt_id))
    if place == len(there) or there[place] != prompt_id:
        around = there[max(place - NEAREST, 0) : place + NEAREST].tolist()
        near = sorted(around, key=lambda known: (abs(known - prompt_id), known))[:NEAREST]
        links = tuple((f"image {known}", f"/image/{known}") for known in near)
        raise Missing(f"This study has no image {prompt_id}: they go from {there[0]} to {there[-1]}.", links)
    row: dict[str, object] = prompts.slice(place, 1).to_pylist()[0]
    return row


def label_of(source: Source, text: str) -> str:
    """The label that an address names. Raises ``Missing`` naming the nearest ones."""
    known = known_labels(source)
    if text not in known:
        near = tuple((label, label_url(label)) for label in close(text, known))
        said = "This study has no such label." if known else "No image is labelled yet: `concepts label` does that."
        raise Missing(said, near or (("the study", "/"),))
    return text


def known_labels(source: Source) -> dict[str, int]:
    """Every label -> how many images show it, most shown first; last those that are carried and in no segment."""
    return source.kept("labels", lambda: _labels(source))


def _labels(source: Source) -> dict[str, int]:
    shown, carried = source.together(lambda: shown_labels(source), lambda: _carried(source))
    return {**shown, **dict.fromkeys(sorted(set(carried) - set(shown)), 0)}


def shown_labels(source: Source) -> dict[str, int]:
    """Those of ``known_labels`` that some image shows, for which no concept is read."""
    shown = _shown(source)
    return {label: len(shown[label]) for label in sorted(shown, key=lambda label: (-len(shown[label]), label))}


def best_carrying(source: Source, label: str) -> list[dict[str, Any]]:
    """The rows of the concepts that carry a label best, over all dictionaries: at most ``BEST``, best first."""
    return list(_carried(source).get(label, pa.table({})).to_pylist())


def _carried(source: Source) -> dict[str, pa.Table]:
    """Label -> its rows of ``best_carrying``, of the labels that some concept was given; read once, for all labels."""

    def read() -> dict[str, pa.Table]:
        rows = source.labelled(CARRIED)
        labels = rows["label"].to_pylist()
        starts = [n for n, label in enumerate(labels) if n == 0 or label != labels[n - 1]]
        return {labels[n]: rows.slice(n, end - n) for n, end in pairwise([*starts, len(labels)])}

    return source.kept("carried", read)


def images_of(source: Source, label: str) -> list[int]:
    """The images that show a label, in the order of their numbers."""
    return [int(number) for number in _shown(source).get(label, ())]


def _shown(source: Source) -> dict[str, np.ndarray]:
    """Label -> the images that show it, int32, ascending; read once, out of the parts of every shard."""

    def read() -> dict[str, np.ndarray]:
        segments = source.atlas.rows("segments", ["label", "prompt_id"])
        if not segments.num_rows:
            return {}
        labels = segments["label"].combine_chunks().dictionary_encode()
        # Of pairs, each once and in order. Arrow's own grouping keeps 40 MB for good, NumPy's hashes, 40 times as long.
        pairs = np.sort(labels.indices.to_numpy().astype(np.int64) << 32 | segments["prompt_id"].to_numpy())
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]
        of_label, numbers = pairs >> 32, pairs.astype(np.int32)
        starts = np.flatnonzero(np.diff(of_label, prepend=-1))
        found = dict(zip(labels.dictionary.to_pylist(), np.split(numbers, starts[1:]), strict=True))
        return dict(sorted(found.items()))

    return source.kept("images by label", read)
