"""What declares a stage: its command, its work and units, what it reads and what it follows from. Nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from storage.site import Site
from study.paths import series_name, shard_name, shards_of, unit_name
from study.units import Units

if TYPE_CHECKING:
    from study.study import Study

Given = Mapping[str, Any]  # a unit's parameters
PART_OF_GROWTH = "~"  # between the name of a part and the growth that it is of, where that is not the first


@dataclass(frozen=True)
class Origin:
    """Which units of an earlier stage a unit was made from.

    ``names`` is asked with the study, the earlier stage's units, and the unit's own name and parameters; where it is
    ``alike`` for all units of a stage, it is asked once.
    """

    names: Callable[[Study, Units, str, Given], Iterable[str]]
    alike: bool = False


@dataclass(frozen=True)
class Command:
    """What is run together, in one flow.

    ``help`` says what it does, as in ``concepts --help``. ``ending`` names the function that is called with the study
    when all units are done; what it returns is reported with the counts. ``typed``: whether it is a command of the
    command line; one that is not runs with ``concepts run``, and as a deployment.
    """

    name: str
    help: str
    ending: str
    typed: bool = True


@dataclass(frozen=True)
class Stage:
    """A kind of unit of work. Its ``name`` is that of its records' folder below ``done/``.

    ``command``: the name of the command that runs it. ``work``: ``module:function`` that makes a unit, called with the
    study and the unit's parameters, which must have published the unit when it returns. ``units``: all there are.

    ``reads``: dotted settings that its results follow from, a group standing for all below it; of those that
    ``only_if`` names, whether they do is asked of the configuration as plain data. ``after``: the stages whose results
    it reads, and which of their units; ``too``: further units that it reads of stages before those.
    ``version``: of its arithmetic, in the hash from 2 on.

    ``keeps_still``: it is never done again in place, for it would mix new activations with old ones. ``replaces``: its
    work replaces files long before the unit is published, so that a former record must be gone by then. ``heals``: its
    work is done again, unasked, where a file of it is gone. ``local``: no cluster is started for its one unit, which is
    done by the process that runs the flow. ``on_cpu``: its work is done on processors, whatever ``model.device`` says,
    and waits for no GPU. ``prefix``: of the names of its table parts. ``asked``: whether a configuration, as plain
    data, asks for it at all; of one that does not nothing follows from the stage.
    """

    name: str
    command: str
    work: str
    units: Callable[[Study], Units]
    reads: tuple[str, ...] = ()
    only_if: Mapping[str, Callable[[Given], bool]] = field(default_factory=dict)
    after: Mapping[str, Origin] = field(default_factory=dict)
    too: Mapping[str, Origin] = field(default_factory=dict)
    version: int = 1
    keeps_still: bool = False
    replaces: bool = False
    heals: bool = False
    local: bool = False
    on_cpu: bool = False
    prefix: str = ""
    asked: Callable[[Given], bool] = lambda _config: True

    @cached_property
    def tables(self) -> tuple[str, ...]:
        """The tables that it writes parts of."""
        from storage.schemas import WRITERS  # imports Arrow, which who asks for help need not wait for

        return tuple(table for table, writers in WRITERS.items() if self.name in writers)

    def reads_of(self, config: Given) -> tuple[str, ...]:
        """Those of ``reads`` that its results follow from under a configuration, as plain data."""
        return tuple(key for key in self.reads if key not in self.only_if or self.only_if[key](config))

    def part(self, unit: str) -> str:
        """Name of the table parts that a unit writes."""
        return self.prefix + unit.replace("/", "-")


def of_splits(*splits: str, as_trained: bool = False) -> Origin:
    """The shards that hold a prompt of the splits; ``as_trained``, as they were when SAEs were refreshed last."""
    return Origin(lambda study, *_: map(shard_name, shards_of(study, *splits, as_trained=as_trained)), alike=True)


def _of_series(_study: Study, _earlier: Units, _unit: str, given: Given) -> Iterable[str]:
    block, _, conditioning = given.get("site") or (given["block"], None, given["conditioning"])
    return (series_name(block, conditioning),)


def _of_times(study: Study, _earlier: Units, _unit: str, given: Given) -> Iterable[str]:
    block, conditioning, k = given["block"], given["conditioning"], given["k"]
    return (unit_name(Site(block, t, conditioning), k) for t in study.config.sites.times)


ALL = Origin(lambda _study, earlier, *_: earlier, alike=True)
SAME = Origin(lambda _study, _earlier, unit, _given: (unit,))  # the one of the same name
OF_SERIES = Origin(_of_series)  # the SAE of all times of the unit's block and conditioning, if there is one
OF_TIMES = Origin(_of_times)  # the SAEs of every time of the unit's block, conditioning and k
