"""SAEs of a study that grows: what they go on from when they are continued, and checkpoints that are outdated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sae.checkpoint import RunPaths, remove_checkpoint
from sae.commit import read_commit
from sae.folder import CONFIG, WEIGHTS
from sae.io import load_sae
from sae.members import Member, unfold
from sae.model import SAE
from sae.source import Statistics
from sae.train import Start
from storage.records import read_record
from storage.shown import FORMER_FILES, FORMER_TRAINED, TRAINED_ON
from storage.vouch import digest_of_bytes
from study.hashes import stage_hash
from study.paths import growths, shards_of
from study.study import Study


def trained_on(study: Study, stage: str) -> dict[str, Any]:
    """What the record of SAEs says of their training, if the study grows: shards of the train split, settings."""
    if not study.config.prompts.grows:
        return {}
    return {TRAINED_ON: {"shards": len(shards_of(study, "train")), "settings": stage_hash(study.identity, stage)}}


def start_of(
    study: Study, stage: str, units: list[str], folders: Mapping[Member, Path], statistics: Statistics
) -> Start | None:
    """What the members of a run go on from; None where they begin anew.

    That are the SAEs that the units had, if the last growth continues them and they were trained under these settings.
    They take the share of the steps that is the train split's new shards of all of them. ``statistics`` are the site's
    own now, in whose units the SAEs are expressed.
    """
    if not study.config.prompts.grows or growths(study).refresh != "continue":
        return None
    former = [read_record(study.root, stage, unit) or {} for unit in units]
    known = [record.get(FORMER_TRAINED) for record in former]
    now = trained_on(study, stage)[TRAINED_ON]
    if not known[0] or any(one != known[0] for one in known) or known[0]["settings"] != now["settings"]:
        return None
    files: dict[str, str] = {path: digest for record in former for path, digest in record[FORMER_FILES].items()}
    share = 1 - known[0]["shards"] / now["shards"]
    read = partial(_read, study.root, files, folders, statistics)
    return Start(read, share, digest_of_bytes(json.dumps(files, sort_keys=True).encode()))


def _read(
    root: str, files: Mapping[str, str], folders: Mapping[Member, Path], statistics: Statistics
) -> dict[Member, SAE]:
    saes = {}
    for member, folder in folders.items():
        digests = {name: files[(folder / name).relative_to(root).as_posix()] for name in (WEIGHTS, CONFIG)}
        saes[member] = unfold(load_sae(folder, digests), statistics.mean, statistics.scale)
    return saes


def drop_outdated(study: Study, paths: RunPaths, data: str) -> None:
    """Remove the checkpoint of a run that was killed before the train split grew: nothing can go on from it."""
    if not study.config.prompts.grows or not paths.commit.exists():
        return
    try:
        outdated = read_commit(paths.commit)["identity"]["data"] != data
    except (OSError, ValueError, KeyError, TypeError):  # damaged: training says so
        return
    if outdated:
        remove_checkpoint(paths)
