"""What a stage's results follow from, as a hash: what a change of settings or of the code makes undone.

A stage's hash covers the settings it reads and the hashes of the stages it reads from. A completion record carries it,
so a unit is done while everything it followed from stands, however the rest of the configuration changes. The functions
take a configuration as the plain mapping of ``study.yaml``, or a ``StudyConfig``.

Code changes, too, and old folders are to stay what they are. A new setting that changes results is listed in ``ADDED``
with the value under which the code works as it did before. A stage whose arithmetic changes under equal settings gets
the next ``version``: ``concepts run`` then refuses folders of the former one until ``concepts revise`` has undone it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from sae.legacy import LATER as REFRESHED
from sae.legacy import LEGACY
from storage.study import ORDERED, with_legacy, without_legacy
from study.errors import StudyError
from study.stages import STAGES

Config = Any  # StudyConfig or Mapping: this module is imported before anything heavy
APART = ("name", "run")  # a study's name and how it is executed change no result
# They say how captions that come in later are followed, and change nothing that is made.
LATER = tuple(f"sae.{name}" for name in REFRESHED)
# Dotted setting -> legacy value: hashes leave it out at that value, and a study.yaml without it is read as having it.
ADDED: dict[str, Any] = {
    "prompts.split_by": "order",
    "sampling.train_images": True,
    "sae.refresh": "never",
    "sae.refresh_from": 0.1,
    **{f"sae.{name}": value for name, value in LEGACY.items()},
    "sae.controls": [],  # a list, as study.yaml has it
    "labels.examples_by": "peak",
    "labels.centred": True,
    "layout.large_share": 0.2,
    "layout.attention": False,
    "interventions.spatial_block": None,
    "interventions.global_block": None,
    "interventions.halves": "cond",
    "interventions.strength_by": "kind",
    "interventions.calibration": "full",
    "interventions.controls": ["random_direction"],
    "interventions.global_prompts": None,
    "interventions.spatial_scaling": "rms",
    "interventions.global_scaling": "rms",
    "interventions.carriers": "best",
    "interventions.transfer_from": None,
    "interventions.style_cids": {},
    "interventions.judge_floor": 0.5,
    "interventions.similarity": False,
    "interventions.lpips": None,
    "atlas.looks_per_prompt": None,
    "interventions.damage": False,
    "atlas": {
        "prompts": 24,
        "length": 0.4,
        "onsets": 16,
        "controls": ["random_direction", "switched_prompt"],
        "phrases": {},
        "trace_prompts": 4,
        "trace_depth": 3,
        "cause_prompts": 8,
        "cause_directions": 20,
    },
}


FIXED = tuple(name for name, stage in STAGES.items() if stage.keeps_still)


def stage_versions() -> dict[str, int]:
    """The version of every stage's arithmetic in this code."""
    return {name: stage.version for name, stage in STAGES.items()}


def stage_hash(config: Config, stage: str, versions: Mapping[str, int] | None = None) -> str:
    """16 hex digits of SHA-256 over all that a stage's results follow from. Raises ``KeyError`` for no stage."""
    return stage_hashes(config, versions)[stage]


def stage_hashes(config: Config, versions: Mapping[str, int] | None = None) -> dict[str, str]:
    """The hash of every stage, for stages of the given versions (a folder's own) or of this code's."""
    given = dict(config) if isinstance(config, Mapping) else config.model_dump(mode="json")
    plain, whole = without_legacy(given, ADDED), with_legacy(given, ADDED)
    versions = stage_versions() if versions is None else versions
    hashes: dict[str, str] = {}
    for name, stage in STAGES.items():
        facts: dict[str, Any] = {
            "reads": {
                key: _value(whole if _of_young_group(key) else plain, key)
                for key in stage.reads_of(given)
                if key not in ADDED or _has(plain, key)
            },
            "order": [list(_value(plain, key) or ()) for key in ORDERED if reads(name, key)],
            "after": {before: hashes[before] for before in stage.after if STAGES[before].asked(given)},
        }
        if versions.get(name, 1) > 1:
            facts["version"] = versions[name]
        hashes[name] = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return hashes


def changed_stages(old: Config, new: Config, old_versions: Mapping[str, int] | None = None) -> list[str]:
    """The stages that a change of settings makes undone, in order; and that of the code, given the old versions."""
    before, after = stage_hashes(old, old_versions), stage_hashes(new)
    return [stage for stage in STAGES if before[stage] != after[stage]]


def revisable(old: Config, new: Config) -> bool:
    """Whether a study may be revised: its prompts, images and activations stay as they are."""
    return not set(FIXED) & set(changed_stages(old, new))


def other_versions(old: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Stages whose version in this code is not the old one -> (old, this code's)."""
    return {name: (old.get(name, 1), now) for name, now in stage_versions().items() if old.get(name, 1) != now}


def refuse_other_versions(root: object, old: Mapping[str, int], filled: Collection[str] = tuple(STAGES)) -> None:
    """Raise ``StudyError`` if the folder was ``filled`` by stages of other versions, naming them and the way out."""
    refuse_newer_stages(root, other_versions(old))
    differing = [name for name in other_versions(old) if name in filled]
    if fixed := [name for name in FIXED if name in differing]:
        raise StudyError(
            f"{root}: {' and '.join(fixed)} of this version of Concept Atlas give other prompts, images or activations "
            "than the version that made it: go on with that version (study.yaml names it), or choose another --root"
        )
    if differing:
        raise StudyError(
            f"{root} was made by an earlier version of Concept Atlas: run `concepts revise` to redo "
            f"{', '.join(differing)} as this version does and what follows from them"
        )


def refuse_newer_stages(root: object, differing: Mapping[str, tuple[int, int]]) -> None:
    """Raise ``StudyError`` if a stage of the folder has a newer version than this code's."""
    if newer := [name for name, (old, now) in differing.items() if old > now]:
        raise StudyError(
            f"{root}: {', '.join(newer)} were made by a newer version of Concept Atlas: upgrade concept-atlas"
        )


def _of_young_group(key: str) -> bool:
    """Whether a setting belongs to a group that older studies lack as a whole: they are read as having all of it."""
    group, _, leaf = key.partition(".")
    return bool(leaf) and group in ADDED


def reads(stage: str, key: str) -> bool:
    """Whether a stage itself reads the dotted setting or group ``key``, or something below it."""
    return any(_within(key, known) or _within(known, key) for known in STAGES[stage].reads)


def _within(key: str, group: str) -> bool:
    return key == group or key.startswith(f"{group}.")


def _has(config: Mapping[str, Any], key: str) -> bool:
    group, _, leaf = key.rpartition(".")
    parent = _value(config, group) if group else config
    return isinstance(parent, Mapping) and leaf in parent


def _value(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config
