"""What of a study is done, and what there is to do: counted from its records and its configuration alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storage import inspect
from storage.errors import StorageError
from storage.records import missing, records
from storage.study import read_study
from storage.vouch import REMEDY
from study.cautions import study_cautions
from study.grown import grown_hashes, growth_sentences
from study.hashes import stage_hashes
from study.opening import recorded_study
from study.stages import stages_of
from study.study import Study


def status(root: str | Path) -> dict[str, Any]:
    """Records done per stage, of how many; rows and bytes per table, the store, the SAEs; ``cautions``, sentences.

    Records of former settings are not counted, nor are damaged ones. What cannot be told of a damaged folder has a
    ``problem`` in its place; ``concepts verify`` looks closer. Raises ``StorageError`` if study.yaml lacks settings.
    """
    study = read_study(root)
    expected = expected_units(root)  # first: it tells of a damaged configuration
    recorded = recorded_study(root)
    return {
        "config_hash": study["config_hash"],
        "name": study["config"].get("name"),
        "done": done_units(recorded, list(expected)),
        "expected": expected,
        **inspect.facts(root),
        "cautions": [*growth_sentences(recorded, expected), *study_cautions(root, recorded.config)],
    }


def done_units(study: Study, stages: list[str]) -> dict[str, int]:
    """How many units of each stage are done under the study's settings, by the versions of stages that it records."""
    known = read_study(study.root)
    hashes = grown_hashes(study, stage_hashes(known["config"], known.get("stages", {})))
    return {stage: _done(study.root, stage, hashes[stage], known["config_hash"]) for stage in stages}


def _done(root: str | Path, stage: str, digest: str, config_hash: str) -> int:
    units = records(root, stage)
    return len(units) - len(missing(root, stage, units, digest, config_hash))


def expected_units(root: str | Path) -> dict[str, int]:
    """How many records each stage will have when it is complete, from the configuration alone.

    Raises ``StorageError`` if study.yaml lacks settings, as one may that is from before it had a checksum.
    """
    try:
        study = recorded_study(root)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{Path(root) / 'study.yaml'} is damaged (a setting is lost): {REMEDY}") from error
    return {stage.name: len(stage.units(study)) for stage in stages_of("run")}
