"""Putting a damaged study in order: the units that are damaged, and what was made from them, are forgotten.

``concepts run`` then makes them again, and nothing else. Nothing is deleted but records, checkpoints of units that are
made again and damaged rows of ``runs``; files in the way of ours are moved aside, and foreign ones are not touched.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import StorageError
from storage.publish import RUNS
from storage.records import forget_record, read_record, record_path, write_record
from storage.store_metadata import DOCUMENT, StoreFacts, read_documents
from storage.study import COPY, keep_copy, kept_copy, read_study, restore_study
from storage.tables import part_path, store_part
from storage.vouch import check, digest_of, vouched_files
from study.errors import StudyError
from study.hashes import stage_hash
from study.links import PLAN, Links, Unit
from study.models import measured_shapes
from study.paths import planned_prompts
from study.publish import prompts_by_shard
from study.stages import COMMANDS, STAGES
from study.verify import CHECKPOINT, STUDY, Damage, Report, inspect_study


@dataclass
class Plan:
    """What a repair does: ``forgotten`` units lose their records, ``aside`` is moved out of the way."""

    report: Report
    lines: list[str] = field(default_factory=list)
    damaged: list[Unit] = field(default_factory=list)
    forgotten: list[Unit] = field(default_factory=list)
    aside: list[Path] = field(default_factory=list)
    checkpoints: list[Path] = field(default_factory=list)  # folders whose checkpoint is damaged, and removed
    settings: bool = False  # study.yaml is restored from its copy
    metadata: bool = False  # of the store, written anew
    prompts: pa.Table | None = None  # the plan's, where its record is lost and other records vouch for them

    def told(self) -> list[str]:
        """What was found and what is done about it, in lines."""
        damage_lines = [str(damage) for damage in self.report.damage]
        aside = [f"{path} is moved aside: a file of ours belongs there" for path in self.aside]
        stages = dict.fromkeys(stage for stage, _ in self.forgotten)
        units = {stage: [unit for s, unit in self.forgotten if s == stage] for stage in stages}
        forgotten = [f"  {stage:<10} {_shortened(names)}" for stage, names in units.items()]
        if forgotten:
            forgotten.insert(
                0, f"{len(self.damaged)} damaged units, with what followed {len(self.forgotten)}, to redo:"
            )
        return [*damage_lines, *self.lines, *aside, *forgotten] or ["everything recorded is whole: nothing to repair"]


def plan_repair(root: str | Path, units: list[str] | None = None) -> Plan:
    """What ``repair`` would do; ``units`` (STAGE/UNIT) are forgotten as if they were damaged. Changes nothing.

    Raises ``StudyError`` for a study.yaml that cannot be rebuilt, and for a unit that the study does not have.
    """
    root = Path(root)
    report = inspect_study(root)
    plan = Plan(report)
    if any(damage.path == STUDY for damage in report.damage):
        _refuse_lost_settings(root)
        plan.settings = True
        plan.lines.append(f"{STUDY} is restored from its copy")
    if report.links is None:
        raise StudyError(f"{root / STUDY} has settings that this version does not know: use the version that made it")
    asked = [_unit(name, report.links) for name in units or []]
    damaged = set(asked) | {unit for damage in report.damage for unit in damage.units if not _is_metadata(damage)}
    plan.metadata = any(_is_metadata(damage) for damage in report.damage)
    plan.prompts = _vouched_prompts(root, report) if PLAN in damaged and not _grows(report) else None
    if plan.metadata or plan.prompts is not None:
        plan.lines.append("activations.zarr: its metadata are written anew, its shards stay as they are")
    if plan.prompts is not None:
        damaged.discard(PLAN)
        plan.lines.append("plan/prompts: it is written anew, as other records vouch for its prompts")
    plan.damaged = sorted(damaged)
    plan.forgotten = [u for u in report.links.following(damaged) if _belongs(u[0]) or u in report.records]
    plan.aside = _in_the_way(root, report)
    plan.checkpoints = _damaged_checkpoints(root, report)
    plan.lines += [f"{path}: its damaged checkpoint is removed" for path in plan.checkpoints]
    return plan


def repair(root: str | Path, plan: Plan) -> None:
    """Do what was planned. The caller holds the folder's lock."""
    root = Path(root)
    for path in plan.aside:
        path.rename(_free_name(path))
    for folder in plan.checkpoints:
        _remove_checkpoint(folder)
    if plan.settings:
        restore_study(root)
    if plan.metadata or plan.prompts is not None:
        _rewrite_store(root, plan)
    for stage, unit in reversed(plan.forgotten):  # what followed first, so that a kill in between is found again
        if stage == RUNS:
            _repair_run(root, unit)
            continue
        if (stage, unit) == COPY:
            keep_copy(root)
            continue
        if stage in ("train", "share"):
            _remove_checkpoint(_trained_in(root, stage, unit))
        forget_record(root, stage, unit)


def _refuse_lost_settings(root: Path) -> None:
    """Raise ``StudyError`` if nothing tells what a damaged study.yaml said."""
    if kept_copy(root) is None:
        move = f"move {root / STUDY} away and " if os.path.lexists(root / STUDY) else ""
        raise StudyError(
            f"{root / STUDY} cannot be restored, for its copy in done/study is damaged or missing, too: {move}run "
            f"`concepts run CONFIG --root {root}` with the configuration that the study was made with: what was "
            "recorded under it stays done"
        )


def _unit(name: str, links: Links) -> Unit:
    stage, _, unit = name.partition("/")
    if stage not in STAGES or unit not in links.units[stage]:
        raise StudyError(f"the study has no unit {name!r}: name one as `concepts verify` does, as in collect/000001")
    return stage, unit


def _is_metadata(damage: Damage) -> bool:
    return damage.path == "activations.zarr" or (
        damage.path.startswith("activations.zarr/") and damage.path.endswith(f"/{DOCUMENT}")
    )


def _grows(report: Report) -> bool:
    """Whether it is a study that grows: planning writes its lost records again, and none names its store's metadata."""
    return report.study is not None and report.study.config.prompts.grows


def _vouched_prompts(root: Path, report: Report) -> pa.Table | None:
    """The prompts of the plan's part, if they are those that the records of shards name; else None.

    Its own record may be damaged or gone, and so may bytes of the part that its rows do not hang on.
    """
    assert report.study is not None
    shards = {unit: record for (stage, unit), record in report.records.items() if stage == "collect"}
    try:
        table = pq.read_table(part_path(root, "prompts", "prompts"), partitioning=None, page_checksum_verification=True)
        told = prompts_by_shard(report.study, table, shards)
        return table if shards and all(shards[unit].get("prompts") == digest for unit, digest in told) else None
    except Exception:  # a part that is damaged, in whatever way
        return None


def _facts(root: Path, report: Report) -> StoreFacts:
    """What the store is: as the plan's record says; without one, as the metadata do where whole, or the model."""
    if "store" in (told := report.records.get(PLAN, {})):
        facts = StoreFacts.of(told["store"])
        if report.study is None or not _grows(report):
            return facts
        return replace(facts, n_prompts=planned_prompts(report.study))
    try:
        return read_documents(root)[0]
    except Exception:
        assert report.study is not None
        shapes, config = measured_shapes(report.study), report.study.config
        by_site = {site: shapes[site.block] for site in config.sites_list()}
        return StoreFacts(by_site, planned_prompts(report.study), config.prompts.shard_size)


def _rewrite_store(root: Path, plan: Plan) -> None:
    """The store's metadata, and the plan's record if that is damaged or other metadata were written than it names."""
    from storage.store_documents import rewrite_metadata
    from storage.store_metadata import document_files

    facts = _facts(root, plan.report)
    rewrite_metadata(root, facts)
    if _grows(plan.report):
        return
    files = {path.relative_to(root).as_posix(): digest_of(path) for path in document_files(root, facts)}
    record = read_record(root, *PLAN)
    if record is None and plan.prompts is None:
        return  # its part is damaged, too: the plan is forgotten, and made again with a record of its own
    if record is None:
        known = read_study(root)
        digest = stage_hash(known["config"], "plan", known.get("stages", {}))
        record = {"store": facts.attributes(), "dropped": {}, "config_hash": digest}
    if plan.prompts is not None:
        record["tables"] = {"prompts": store_part(root, "prompts", "prompts", plan.prompts)}
    if vouched_files(record) != files or plan.prompts is not None:
        write_record(root, *PLAN, {**record, "files": files}, record["config_hash"])


def _belongs(stage: str) -> bool:
    """Whether it is a stage of every study, and not of a command that is run by its own name alone."""
    return stage not in STAGES or STAGES[stage].command in COMMANDS


def _in_the_way(root: Path, report: Report) -> list[Path]:
    """Folders where a file of ours belongs, and files where a folder does: neither can be written over."""
    paths = []
    for damage in report.damage:
        path = root / damage.path
        if damage.path != "activations.zarr" and path.is_dir() and not path.is_symlink():
            paths.append(path)
        folders = [root / above for above in path.relative_to(root).parents[:-1]]
        paths += [above for above in folders if os.path.lexists(above) and not above.is_dir()]
    return sorted(set(paths))


def _shortened(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.aside{number or ''}") for number in range(10_000))
    return next(name for name in names if not os.path.lexists(name))


def _repair_run(root: Path, name: str) -> None:
    """A row of ``runs`` is told again from its part if that is whole; a damaged one cannot be made again."""
    part, record = part_path(root, RUNS, name), record_path(root, RUNS, name)
    try:
        check(part, (read_record(root, RUNS, name) or {})["tables"][RUNS]["sha256"])
    except (StorageError, KeyError, TypeError):
        try:
            row = pq.read_table(part, partitioning=None, page_checksum_verification=True).to_pylist()[0]
            whole = f"{row['stage']}-{row['run_id']}" == name
        except Exception:
            whole = False
        if whole and read_record(root, RUNS, name) is None:
            facts = {"part": name, "rows": 1, "sha256": digest_of(part)}
            write_record(root, RUNS, name, {"tables": {RUNS: facts}, "files": {}}, row["config_hash"])
            return
        record.unlink(missing_ok=True)
        part.unlink(missing_ok=True)


def _damaged_checkpoints(root: Path, report: Report) -> list[Path]:
    """Folders of checkpoints that are not what was committed: training starts anew, and what is trained needs none."""
    paths = [Path(damage.path) for damage in report.damage if damage.path.startswith("saes/")]
    damaged = [path for path in paths if path.name == CHECKPOINT or path.parent.name == "checkpoint"]
    return sorted({root.joinpath(*path.parts[:4]) for path in damaged})


def _trained_in(root: Path, stage: str, unit: str) -> Path:
    """The folder whose checkpoint a unit's training goes on from."""
    if stage == "train":
        return root / "saes" / unit.rpartition("/")[0]
    block, conditioning = unit.split("/")
    return root / "saes" / block / "shared" / conditioning


def _remove_checkpoint(folder: Path) -> None:
    """The commit first: without it there is no checkpoint, whatever tensors are there."""
    (folder / CHECKPOINT).unlink(missing_ok=True)
    for tensors in folder.rglob("checkpoint/step-*.safetensors"):
        tensors.unlink(missing_ok=True)
