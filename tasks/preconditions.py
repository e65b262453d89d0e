"""A stage needs the stages before it: say which is missing, by count and by command."""

from __future__ import annotations

from storage.records import missing
from tasks.errors import StudyError
from tasks.parts import shard_name
from tasks.segment import SEGMENTED_SPLITS
from tasks.study import Study, sae_units, shards_of, unit_name

COMMAND_OF = {"collect": "collect", "train": "train", "segment": "label", "label": "label"}


def units_of(study: Study, stage: str) -> list[str]:
    """Names of the completion records that make ``stage`` complete."""
    if stage == "collect":
        return [shard_name(shard) for shard in shards_of(study)]
    if stage == "segment":
        return [shard_name(shard) for shard in shards_of(study, *SEGMENTED_SPLITS)]
    return [unit_name(site, k) for site, k in sae_units(study)]


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
