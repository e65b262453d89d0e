"""How a growing study has grown, from the records of its planning: which shards each growth added, of which split.

Every reading of the source has a record of its own, ``done/plan/prompts.json``, then ``prompts-0001.json`` and so on,
with the part of ``prompts`` that it added. The latest tells of all before it, too. None is written again with other
facts, so the shards of a split are only ever more. A growth is a number: 0 for what the first reading gave.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

from storage.records import read_record

STAGE, FIRST, GROWTH, BEFORE = "plan", "prompts", "growth", "before"
TRAIN = "train"  # the split that SAEs are trained on
Range = tuple[int, int]  # [start, stop)


@dataclass(frozen=True)
class Growths:
    """All growths of a study so far.

    ``splits``: of every shard, in order. ``ends``: shards that there were after each growth. ``trained``: the growth
    whose train split the SAEs are trained on, and ``refresh`` how they come to it (``new``, ``continue``, ``retrain``).
    ``source``: digest of the captions' files when they were read last.
    """

    splits: tuple[str, ...] = ()
    ends: tuple[int, ...] = ()
    trained: int = 0
    refresh: str = "new"
    source: str = ""
    facts: tuple[dict[str, Any], ...] = ()  # of each growth, as its record has them

    @property
    def last(self) -> int:
        """Number of the latest growth; -1 before the first."""
        return len(self.ends) - 1

    @property
    def trained_end(self) -> int:
        """Shards that there were at the growth that SAEs are trained on."""
        return self.ends[self.trained] if self.ends else 0

    def growth_of(self, shard: int) -> int:
        """The growth that added a shard."""
        return next((number for number, end in enumerate(self.ends) if shard < end), self.last)

    def shards(self, names: Iterable[str] = (), as_trained: bool = False) -> list[int]:
        """Shards of the named splits, all by default, ascending.

        Of the train split alone, or of any split ``as_trained``, those that SAEs are trained with: what came in since
        they were refreshed last waits for the next time.
        """
        wanted = set(names)
        return [
            shard
            for shard, split in enumerate(self.splits)
            if (not wanted or split in wanted)
            and (shard < self.trained_end or not (as_trained or (split == TRAIN and wanted)))
        ]

    def ranges(self, split: str, shard_size: int, as_trained: bool = False) -> list[Range]:
        """[start, stop) of a split's prompt ids, shards that lie side by side together."""
        shards = self.shards((split,), as_trained)
        runs = (list(run) for _, run in groupby(enumerate(shards), lambda pair: pair[1] - pair[0]))
        return [(run[0][1] * shard_size, (run[-1][1] + 1) * shard_size) for run in runs]


def growth_unit(number: int) -> str:
    """Name of the completion record of a growth."""
    return FIRST if number == 0 else f"{FIRST}-{number:04d}"


def growths_of(root: str | Path) -> Growths:
    """What the latest whole record of planning tells; nothing before the first."""
    folder = Path(root) / "done" / STAGE
    try:
        names = [path.stem for path in folder.iterdir() if path.suffix == ".json" and path.name[0] != "."]
        return _read(str(root), tuple(sorted(names, key=lambda name: (len(name), name))), folder.stat().st_mtime_ns)
    except FileNotFoundError:
        return Growths()


@functools.lru_cache(maxsize=8)
def _read(root: str, names: tuple[str, ...], _stamp: int) -> Growths:
    for name in reversed(names):
        record = read_record(root, STAGE, name) or {}
        if GROWTH in record:
            return _told([*record[BEFORE], record[GROWTH]])
    return Growths()


def _told(facts: list[dict[str, Any]]) -> Growths:
    refreshed = [number for number, one in enumerate(facts) if one["refresh"]]
    splits = tuple(name for one in facts for name, count in one["shards"] for _ in range(count))
    ends = tuple(accumulate(sum(count for _, count in one["shards"]) for one in facts))
    last = refreshed[-1]
    return Growths(splits, ends, last, facts[last]["refresh"], facts[-1]["source"], tuple(facts))


def shards_told(splits: Iterable[str]) -> list[list[Any]]:
    """As a record has it: [split, how many shards of it come next], ..."""
    return [[name, len(list(run))] for name, run in groupby(splits)]


def refresh_due(before: Growths, added: Iterable[str], mode: str, share: float) -> str | None:
    """How SAEs follow a growth by shards of the splits ``added``: ``mode``, ``new`` for the first, None if not at all.

    They do once the train split has gained ``share`` of what they were trained on last, and has gained anything.
    """
    if not before.ends:
        return "new"
    there = sum(split == TRAIN for split in before.splits) + sum(split == TRAIN for split in added)
    trained = len(before.shards((TRAIN,)))
    return mode if mode != "never" and there > trained and there - trained >= share * trained else None
