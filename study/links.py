"""Which units of work a unit was made from, unit by unit where stages map one to one, and what follows from some."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from study.stage import Origin
from study.stages import STAGES
from study.study import Study
from study.units import DRAW_UNIT, FIGURE_STAGE, PROMPTS_UNIT, Units

Unit = tuple[str, str]  # stage, and the name of its completion record
PLAN: Unit = ("plan", PROMPTS_UNIT)
DRAWN: Unit = ("draw", DRAW_UNIT)  # names all pictures: while it stands none is drawn again


class Links:
    """The units of a study and what each was made from, as ``Stage.after`` and ``Stage.too`` tell."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.units: dict[str, Units] = {name: stage.units(study) for name, stage in STAGES.items()}
        self._alike: dict[str, frozenset[Unit]] = {}

    def needs(self, stage: str, unit: str) -> frozenset[Unit]:
        """The units that one of ``stage`` read from; none for one that the study does not have."""
        if unit not in self.units[stage]:
            return frozenset()
        if stage in self._alike:
            return self._alike[stage]
        origins = [*STAGES[stage].after.items(), *STAGES[stage].too.items()]
        needed = frozenset(one for before, origin in origins for one in self._named(before, origin, stage, unit))
        if all(origin.alike for _, origin in origins):
            self._alike[stage] = needed
        return needed

    def _named(self, before: str, origin: Origin, stage: str, unit: str) -> Iterator[Unit]:
        earlier = self.units[before]
        names = origin.names(self.study, earlier, unit, self.units[stage][unit])
        return ((before, name) for name in names if name in earlier)

    def following(self, units: Iterable[Unit]) -> list[Unit]:
        """The units and all that was made from them, in the order of the stages.

        Nothing follows from the plan: it is drawn again from the same captions, or refused (``tasks.collect.plan``).
        """
        affected = set(units)
        if any(stage == FIGURE_STAGE for stage, _ in affected):
            affected.add(DRAWN)
        followed = {one for one in affected if one[0] != PLAN[0]}
        for stage in STAGES:
            for unit in self.units[stage]:
                if not followed.isdisjoint(self.needs(stage, unit)):
                    affected.add((stage, unit))
                    followed.add((stage, unit))
        order = list(STAGES)
        return sorted(affected, key=lambda u: (order.index(u[0]) if u[0] in order else len(order), u))
