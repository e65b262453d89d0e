"""A stage needs the stages before it: say which is missing, by count and by command."""

from __future__ import annotations

from collections.abc import Callable

from study.errors import StudyError
from study.paths import Site, sae_units, series_name, shards_of, time_series, unit_name
from study.plans import (
    DRAW_UNIT,
    EFFECTS_UNIT,
    SEGMENTED_SPLITS,
    bench_unit,
    match_unit,
    plan_calibrations,
    plan_units,
)
from study.publish import lacking, shard_name
from study.study import Study

COMMAND_OF = {"collect": "collect", "train": "train", "share": "train"} | dict.fromkeys(
    ("tag", "detect", "segment", "areas", "label"), "label"
)


def units_of(study: Study, stage: str) -> list[str]:
    """Names of the completion records that make ``stage`` complete."""
    return _UNITS[stage](study)


def _shards(study: Study) -> list[str]:
    return [shard_name(shard) for shard in shards_of(study)]


def _segmented(study: Study) -> list[str]:
    return [shard_name(shard) for shard in shards_of(study, *SEGMENTED_SPLITS)]


def _saes(study: Study) -> list[str]:
    return [unit_name(site, k) for site, k in sae_units(study)]


def _shared(study: Study) -> list[str]:
    return [series_name(*series) for series in time_series(study)] if study.config.sae.across_time else []


def _matches(study: Study) -> list[str]:
    return [match_unit(block, c, k) for block, c in time_series(study) for k in study.config.sae.k]


def _bench(study: Study) -> list[str]:
    return [bench_unit(t, study.config.sites.conditionings[0]) for t in study.config.sites.times]


_UNITS: dict[str, Callable[[Study], list[str]]] = {
    "plan": lambda study: ["prompts"],
    "collect": _shards,
    "train": _saes,
    "share": _shared,
    "match": _matches,
    "tag": _segmented,
    "detect": _segmented,
    "segment": _segmented,
    "areas": _segmented,
    "label": _saes,
    "layout": _saes,
    "calibrate": lambda study: [unit.name for unit in plan_calibrations(study)],
    "intervene": lambda study: [unit.name for unit in plan_units(study)],
    "effects": lambda study: [EFFECTS_UNIT],
    "draw": lambda study: [DRAW_UNIT],
    "bench": _bench,
}


def sites_to_train(study: Study) -> dict[str, dict[str, Site]]:
    """One record of each site -> the site; of a site that lacks any k, a record that is missing.

    A site's SAEs are trained together and recorded apart, so a kill between two records leaves a site half recorded.
    """
    units = {unit_name(site, k): site for site, k in sae_units(study)}
    undone = {units[name]: name for name in lacking(study, "train", list(units))}
    named = {site: unit_name(site, study.config.sae.k[0]) for site in study.config.sites_list()} | undone
    return {name: {"site": site} for site, name in named.items()}


def require(study: Study, *stages: str) -> None:
    """Raise ``StudyError`` if one of the stages is incomplete."""
    for stage in stages:
        units = units_of(study, stage)
        undone = lacking(study, stage, units)
        if undone:
            raise StudyError(
                f"{study.root}: stage {stage!r} has {len(undone)} of {len(units)} units missing: "
                f"run `concepts {COMMAND_OF[stage]}` (or `concepts run`) on this folder first"
            )
