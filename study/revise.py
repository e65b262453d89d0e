"""Giving a study other settings without starting it again: only what follows from the changed ones is redone.

Prompts, images and activations stay; a change of theirs is refused. Everything else is overwritten, part by part, when
the study is run; until then the tables hold what they held. Only what the new settings have no unit for is removed.
A kill at any moment leaves either the old ``study.yaml`` or the new one marked as not ended, which only another
``concepts revise`` takes further.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sae.checkpoint import LOG
from sae.folder import CONFIG, WEIGHTS
from sae.members import members_of, shared_members
from storage.formats import FIRST, KEY
from storage.records import forget_record, is_done, read_record, records, write_record
from storage.schemas import SCHEMAS
from storage.study import (
    REVISING,
    Differences,
    begin_revision,
    differences,
    end_revision,
    read_study,
    shown,
    with_legacy,
)
from storage.tables import parts
from storage.vouch import vouched_files
from study.at import AtSite
from study.config import StudyConfig
from study.contradictions import refuse_contradictions
from study.errors import StudyError
from study.former import with_former_values
from study.hashes import (
    ADDED,
    FIXED,
    changed_stages,
    other_versions,
    reads,
    refuse_newer_stages,
    refuse_other_versions,
    stage_hash,
)
from study.identity import contents_of, settled
from study.opening import study_as
from study.paths import of_seed, shared_folder, time_series
from study.preconditions import units_of
from study.provenance import provenance_of
from study.saes import SHARED, UNTRAINED
from study.stage import PART_OF_GROWTH
from study.stages import COMMANDS, STAGES
from study.study import Study
from study.threads import recorded_threads

CHECKPOINT = "checkpoint"
STAGE = "stages."  # before the name of a stage whose version changed, among the settings that did


@dataclass(frozen=True)
class Redone:
    """A stage that is undone by a revision: ``done`` of its ``units`` are done under the former settings."""

    stage: str
    done: int
    units: int


@dataclass(frozen=True)
class Revision:
    """What a change means: ``settings`` that differ (key -> old, new), stages to redo, files and folders to remove.

    ``versions``: stages that this code computes in another way (stage -> old, new). ``changed`` names both.
    """

    study: Study
    settings: Differences
    versions: dict[str, tuple[int, int]]
    changed: list[str]
    stages: list[Redone]
    removed: list[Path]
    pending: bool  # an earlier revision to these settings was interrupted

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.changed) or self.pending


def plan_revision(root: str | Path, config: StudyConfig) -> Revision:
    """Compare the folder's settings with others. Changes nothing.

    Raises ``StorageError`` for a folder that is no study or whose model has other weights, ``StudyError`` for a change
    of what the activations follow from and for settings that contradict each other.
    """
    refuse_contradictions(config)
    config = with_former_values(root, config)
    known, contents = read_study(root), contents_of(config)
    new = settled(root, known, config, contents)
    made = known.get("stages", {})
    versions = other_versions(made)
    refuse_newer_stages(root, versions)
    if set(FIXED) & set(versions):
        refuse_other_versions(root, made)
    differing = differences(with_legacy(known["config"], ADDED), new)
    undone = changed_stages(known["config"], new, made)
    _refuse_fixed(root, differing, undone)
    study = study_as(root, config, new)
    begun = known.get(REVISING, [])
    stages = [_redone(study, stage) for stage in STAGES]
    stages = [s for s in stages if s.done or (s.stage in undone and STAGES[s.stage].command in COMMANDS)]
    changed = [*differing, *(f"{STAGE}{name}" for name in versions)]
    removed = _unwanted(study, [*changed, *begun])
    return Revision(study, differing, versions, changed, stages, removed, bool(begun))


def revise(revision: Revision) -> None:
    """Rewrite ``study.yaml``, the former configuration joining its ``history``, and remove what has no unit any more.

    Run again after a kill, it ends what it began.
    """
    study = revision.study
    root, known = study.root, read_study(study.root)
    if revision.changed:
        _give_stage_hashes(root, known)
        settings, provenance = (
            study.identity.model_dump(mode="json"),
            provenance_of(contents_of(study.config), recorded_threads(known)),
        )
        begin_revision(root, settings, provenance, revision.changed, study.config_hash)
    _clear(study)
    end_revision(root)


def _refuse_fixed(root: str | Path, differing: Differences, undone: list[str]) -> None:
    if not set(FIXED) & set(undone):
        return
    fixed = {key: change for key, change in differing.items() if any(reads(stage, key) for stage in FIXED)}
    raise StudyError(
        f"{root}: its prompts, images and activations follow from settings that differ ({shown(fixed)}): "
        "choose another --root, for the old ones would be mixed with new ones"
    )


def _redone(study: Study, stage: str) -> Redone:
    units = units_of(study, stage)
    done = sum(read_record(study.root, stage, unit) is not None for unit in units)
    current = sum(is_done(study.root, stage, unit, study.hash_of(stage)) for unit in units)
    return Redone(stage, done - current, len(units))


def _give_stage_hashes(root: str, known: dict[str, Any]) -> None:
    """Records that carry the whole configuration's hash get their stage's: the former will say nothing afterwards."""
    whole = known["config_hash"]
    for stage in STAGES:
        digest = stage_hash(known["config"], stage, known.get("stages", {}))
        for unit in records(root, stage):
            record = read_record(root, stage, unit)
            if record is not None and record.get("config_hash") == whole:
                write_record(root, stage, unit, {KEY: FIRST, **record}, digest)


def _clear(study: Study) -> None:
    """Remove what the settings have no unit for. Records go last: while one is there, its parts may be too."""
    for path in _unwanted(study, read_study(study.root).get(REVISING, [])):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for stage in STAGES:
        units = set(units_of(study, stage))
        for unit in records(study.root, stage):
            if unit not in units or _lost_weights(study.root, stage, unit):
                forget_record(study.root, stage, unit)


def _lost_weights(root: str, stage: str, unit: str) -> bool:
    """Whether files that the record vouches for are gone: settings that come back must train them again."""
    named = vouched_files(read_record(root, stage, unit) or {})
    return not all((Path(root) / name).exists() for name in named)


def _unwanted(study: Study, changed: list[str]) -> list[Path]:
    """Files and folders that the study has no place for after the named settings or stages changed."""
    trained = tuple(f"{STAGE}{name}" for name, stage in STAGES.items() if stage.replaces)
    checkpoints = _checkpoints(study) if any(key.startswith("sae.") or key in trained for key in changed) else []
    return [*_stale_parts(study), *_stale_weights(study), *checkpoints]


def _stale_parts(study: Study) -> Iterator[Path]:
    """Table parts that no unit writes, whether their records say so or were never written."""
    kept: dict[str, set[str]] = {table: set() for table in SCHEMAS if table != "runs"}
    for stage in STAGES.values():
        for table in stage.tables:
            kept[table] |= {stage.part(unit) for unit in stage.units(study)}
    for table, names in kept.items():
        yield from (path for path in parts(study.root, table) if path.stem.split(PART_OF_GROWTH)[0] not in names)


def _stale_weights(study: Study) -> list[Path]:
    """Folders of SAEs that the settings do not ask for: a later stage would read them as if they did."""
    if not (Path(study.root) / "saes").exists():
        return []
    sites = [study.at(site) for site in study.config.sites_list()]
    homes = [shared_folder(study, *series) for series in time_series(study)]
    expected = {path for site in sites for path in _sae_folders(site)}
    if study.config.sae.across_time:
        shared = shared_members(study.config.sae, sites[0].channels, study.config.seed)
        expected |= {of_seed(study, home / f"k{m.k}", m.seed) for home in homes for m in shared}
    places = [*(site.folder for site in sites), *homes]
    marks = (WEIGHTS, CONFIG, CHECKPOINT, LOG)  # where an SAE of all times is trained only its log is left
    folders = {path.parent for place in places for mark in marks for path in place.rglob(mark)}
    return sorted(folders - expected)


def _sae_folders(at: AtSite) -> Iterator[Path]:
    config = at.study.config
    for member in members_of(config.sae, at.channels, config.seed):
        yield at.member_folder(member)
    for k in config.sae.k:
        yield at.study.at(at.site, k).folder_of(UNTRAINED)
    for member in shared_members(config.sae, at.channels, config.seed) if config.sae.across_time else ():
        yield at.study.at(at.site, member.k).folder_of(SHARED, member.seed)


def _checkpoints(study: Study) -> list[Path]:
    """What training resumes from; it refuses a checkpoint that was made under other settings of ``sae``."""
    return sorted((Path(study.root) / "saes").rglob(f"{CHECKPOINT}.json"))
