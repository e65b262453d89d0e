"""Which units of work a unit was made from, unit by unit where stages map one to one, and what follows from some."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from study.paths import series_name, shards_of
from study.plans import DRAW_STAGE, DRAW_UNIT, FIGURE_STAGE, SEGMENTED_SPLITS
from study.preconditions import units_of
from study.publish import shard_name
from study.stages import STAGES
from study.study import Study

Unit = tuple[str, str]  # stage, and the name of its completion record
PLAN: Unit = ("plan", "prompts")
DRAWN: Unit = (DRAW_STAGE, DRAW_UNIT)  # names all pictures: while it stands none is drawn again
BEFORE = {"tag": "collect", "detect": "tag", "segment": "detect", "areas": "segment"}  # shard by shard


class Links:
    """The units of a study and what each was made from."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.units: dict[str, list[str]] = {stage: units_of(study, stage) for stage in STAGES}

    def needs(self, stage: str, unit: str) -> frozenset[Unit]:
        """The units that one of ``stage`` read from."""
        if stage == "collect":
            return frozenset({PLAN})
        if stage in BEFORE:
            return frozenset({(BEFORE[stage], unit)})
        if stage in ("match", "label", "layout"):
            return self._of_sae(stage, unit)
        return self._of_all(stage)

    def _of_sae(self, stage: str, unit: str) -> frozenset[Unit]:
        """Of a unit of one SAE: ``block/t/conditioning/k``, or ``block/conditioning/k`` where all times are matched."""
        block, *t, conditioning, k = unit.split("/")
        shared = frozenset({("share", series_name(block, conditioning))} & self._all("share"))
        if stage == "match":
            site = (f"{block}/", f"/{conditioning}/{k}")
            trained = [u for u in self.units["train"] if u.startswith(site[0]) and u.endswith(site[1])]
            return shared | {("train", u) for u in trained}
        if stage == "label":
            return shared | {("train", unit)} | self._shards("areas", "dictionary")
        read = self._shards("areas", *SEGMENTED_SPLITS) | self._shards("collect", "layout")
        return read | {("label", unit)}

    @functools.cache  # noqa: B019 - a few sets, kept as long as the links are
    def _of_all(self, stage: str) -> frozenset[Unit]:
        if stage in ("train", "share"):
            return self._shards("collect", "train", "dictionary")
        if stage == "calibrate":
            return self._all("label") | self._shards("collect", "dictionary")
        if stage == "intervene":
            return self._all("label") | self._all("calibrate") | self._shards("collect", "style")
        if stage == "effects":
            return self._all("intervene")
        if stage == "draw":
            return self._all("match") | self._all("layout") | self._all("effects")
        if stage == "bench":
            return self._all("train") | self._all("share")
        return frozenset()

    def _all(self, stage: str) -> frozenset[Unit]:
        return frozenset((stage, unit) for unit in self.units[stage])

    @functools.cache  # noqa: B019
    def _shards(self, stage: str, *splits: str) -> frozenset[Unit]:
        return frozenset((stage, shard_name(shard)) for shard in shards_of(self.study, *splits))

    def following(self, units: Iterable[Unit]) -> list[Unit]:
        """The units and all that was made from them, in the order of the stages.

        Nothing follows from the plan: it is drawn again from the same captions, or refused (``tasks.collect.plan``).
        """
        found = set(units)
        if any(stage == FIGURE_STAGE for stage, _ in found):
            found.add(DRAWN)
        for stage in STAGES:
            for unit in self.units[stage]:
                if not (found - {PLAN}).isdisjoint(self.needs(stage, unit)):
                    found.add((stage, unit))
        order = list(STAGES)
        return sorted(found, key=lambda u: (order.index(u[0]) if u[0] in order else len(order), u))
