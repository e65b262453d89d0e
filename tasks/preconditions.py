"""A stage needs the stages before it: say which is missing, by count and by command."""

from __future__ import annotations

from storage.records import missing
from tasks.errors import StudyError
from tasks.parts import shard_name
from tasks.segment import SEGMENTED_SPLITS
from tasks.study import Site, Study, sae_units, series_name, shards_of, time_series, unit_name

COMMAND_OF = {"collect": "collect", "train": "train", "share": "train", "segment": "label", "label": "label"}


def units_of(study: Study, stage: str) -> list[str]:
    """Names of the completion records that make ``stage`` complete."""
    if stage == "collect":
        return [shard_name(shard) for shard in shards_of(study)]
    if stage == "segment":
        return [shard_name(shard) for shard in shards_of(study, *SEGMENTED_SPLITS)]
    if stage == "share":
        return [series_name(*series) for series in time_series(study)] if study.config.sae.across_time else []
    return [unit_name(site, k) for site, k in sae_units(study)]


def sites_to_train(study: Study) -> dict[str, dict[str, Site]]:
    """One record of each site -> the site; of a site that lacks any k, a record that is missing.

    A site's SAEs are trained together and recorded apart, so a kill between two records leaves a site half recorded.
    """
    units = {unit_name(site, k): site for site, k in sae_units(study)}
    lacking = {units[name]: name for name in missing(study.root, "train", list(units), study.config_hash)}
    named = {site: unit_name(site, study.config.sae.k[0]) for site in study.config.sites_list()} | lacking
    return {name: {"site": site} for site, name in named.items()}


def require(study: Study, *stages: str) -> None:
    """Raise ``StudyError`` if one of the stages is incomplete."""
    for stage in stages:
        units = units_of(study, stage)
        lacking = missing(study.root, stage, units, study.config_hash)
        if lacking:
            raise StudyError(
                f"{study.root}: stage {stage!r} has {len(lacking)} of {len(units)} units missing: "
                f"run `concepts {COMMAND_OF[stage]}` (or `concepts run`) on this folder first"
            )
