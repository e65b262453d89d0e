"""Whether a study has anything left to do, asked of its records alone: no server is started and no model loaded."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from storage.records import read_record, record_path
from storage.shown import shown_growths
from storage.store_metadata import NoStoreError, read_documents, store_path
from storage.tables import part_path
from storage.vouch import vouched_files
from study.opening import for_command
from study.paths import growths
from study.publish import lacking
from study.stage import Stage
from study.stages import COMMANDS, stages_of
from study.study import Study
from study.units import FIGURE_STAGE


def done_units(study: Study, command: str) -> dict[str, int] | None:
    """Stage -> how many units it has, if all of the command's are done under the study's settings and nothing is gone.

    None if there is something to do. What the files hold is asked by ``concepts verify``; here, whether they exist.
    Raises ``StorageError`` for a store whose metadata are damaged, as every stage would.
    """
    try:
        read_documents(study.root)
    except NoStoreError:  # not planned yet, or killed while it was
        return None
    study, counts = for_command(study, command), dict[str, int]()
    if is_behind(study, [stage.name for stage in stages_of(command)]):
        return None
    for name in COMMANDS if command == "run" else (command,):
        stages = {stage.name: list(stage.units(study)) for stage in stages_of(name)}
        if not all(is_finished(study, stage, units) for stage, units in stages.items()):
            return None
        counts[name] = sum(map(len, stages.values()))
    return counts


def is_behind(study: Study, stages: Collection[str]) -> bool:
    """Whether the tables of some of the stages show a former growth: a run was killed, or has not ended."""
    if not study.config.prompts.grows:
        return False
    shown, last = shown_growths(study.root), growths(study).last
    return any(shown.get(stage, last) < last for stage in stages)


def undone(study: Study, stage: Stage, units: Collection[str]) -> list[str]:
    """The units to be made: those without a record of the present settings, or without a file where the stage heals."""
    missing = lacking(study, stage.name, list(units))
    if not stage.heals:
        return missing
    return [unit for unit in units if unit in missing or not _is_there(study, stage.name, unit)]


def is_finished(study: Study, stage: str, units: list[str]) -> bool:
    """Whether every unit is done under the study's settings and every file that its record names is there."""
    return not lacking(study, stage, units) and all(_is_there(study, stage, unit) for unit in units)


def _is_there(study: Study, stage: str, unit: str) -> bool:
    return all(path.is_file() for path in _written(study, stage, unit))


def _written(study: Study, stage: str, unit: str) -> Iterator[Path]:
    """Every file that the record of a finished unit names; of a picture, the record as well."""
    record: dict[str, Any] = read_record(study.root, stage, unit) or {}
    for table, facts in record.get("tables", {}).items():
        yield part_path(study.root, table, facts["part"])
    for name in vouched_files(record):
        yield Path(study.root) / name
    for site in record.get("checksums", {}):
        yield store_path(study.root) / site / "c" / str(int(unit)) / "0" / "0" / "0"
    for name in record.get("figures", ()):
        yield record_path(study.root, FIGURE_STAGE, name)
        yield Path(study.root) / "figures" / f"{name}.png"
