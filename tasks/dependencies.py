"""Which settings and which other stages every stage's results follow from: what a change of settings makes undone.

A stage's hash covers the settings it reads and the hashes of the stages it reads from. A completion record carries it,
so a unit is done while everything it followed from stands, however the rest of the configuration changes. The functions
take a configuration as the plain mapping of ``study.yaml``, or a ``StudyConfig``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storage.study import ORDERED

Config = Any  # StudyConfig or Mapping: this module is imported before anything heavy
APART = ("name", "run")  # a study's name and how it is executed change no result


@dataclass(frozen=True)
class Stage:
    """``reads``: dotted settings, a group standing for all below it. ``after``: stages. ``tables``: what it writes."""

    reads: tuple[str, ...]
    after: tuple[str, ...]
    tables: tuple[str, ...]


def _below(group: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{group}.{name}" for name in names)


_TRAINING = _below(
    "sae",
    *("variant", "matryoshka", "k", "expansion", "batch_size", "lr", "epochs", "warmup_fraction", "decay_fraction"),
    *("clip", "aux_alpha", "aux_k", "dead_after_vectors", "dead_check_every", "adam_eps", "precision"),
    "checkpoint_every",
)
_VISION = (  # of every step that runs a vision model
    *("vision.backend", "vision.plugin", "vision.mini.path", "vision.mini.batch_size"),
    *_below("vision.transformers", "device", "dtype", "batch_size"),
)
_JUDGE = (*_VISION, *_below("vision.transformers", "judge_clipseg", "judge_clip", "prompt_template"))

STAGES: dict[str, Stage] = {
    "plan": Stage(("seed", "prompts", "model"), (), ("prompts",)),
    "collect": Stage(("sites", "sampling"), ("plan",), ("images",)),
    "train": Stage((*_TRAINING, "sae.seeds", "sae.frozen_control"), ("collect",), ("sae_metrics",)),
    "share": Stage((*_TRAINING, "sae.across_time"), ("collect",), ("sae_metrics",)),
    "match": Stage(("sae.match_prompts",), ("train", "share"), ("concept_matches",)),
    "tag": Stage(
        (
            *_VISION,
            *_below("vision", "vocabulary", "vocabulary_file"),
            *_below("vision.mini", "min_area", "style_score"),
            *_below("vision.transformers", "tagger", "clip", "prompt_template", "tag_score"),
        ),
        ("collect",),
        ("tags",),
    ),
    "detect": Stage(
        (
            *_VISION,
            "vision.mini.min_area",
            *_below("vision.transformers", "detector", "prompt_template", "box_score", "nms_iou", "max_box"),
        ),
        ("tag",),
        ("boxes",),
    ),
    "segment": Stage(
        (
            *_VISION,
            *_below("vision.mini", "min_score", "second_path"),
            *_below("vision.transformers", "segmenter", "boxes_at_once", "mask_score", "min_area", "merge_iou"),
            "vision.transformers.second_opinion",
        ),
        ("detect",),
        ("segments",),
    ),
    "areas": Stage((), ("segment",), ("label_cells", "cell_colours")),
    "label": Stage(
        ("labels",),
        ("train", "share", "areas"),
        ("concepts", "concept_labels", "concept_examples", "label_controls", "shared_concepts"),
    ),
    "layout": Stage(("layout",), ("label",), ("layout_scores",)),
    "calibrate": Stage(
        (
            *_JUDGE,
            *_below("interventions", "block", "windows", "objects", "styles", "spatial_strengths", "global_strengths"),
            *_below("interventions", "calibration_images", "concepts_per_target"),
        ),
        ("label",),
        ("calibrations",),
    ),
    "intervene": Stage(
        (*_JUDGE, *_below("interventions", "prompts_per_target", "keep_images")), ("calibrate",), ("interventions",)
    ),
    "effects": Stage(("interventions.bootstrap",), ("intervene",), ("intervention_effects",)),
    "bench": Stage((), ("train", "share"), ("bench",)),
}
FIXED = ("plan", "collect")  # redone in place they would mix new activations with old ones
WITH_WEIGHTS = ("train", "share")  # write files beside their tables before they publish


def stage_hash(config: Config, stage: str) -> str:
    """16 hex digits of SHA-256 over all that a stage's results follow from. Raises ``KeyError`` for no stage."""
    return stage_hashes(config)[stage]


def stage_hashes(config: Config) -> dict[str, str]:
    """The hash of every stage."""
    plain = config if isinstance(config, Mapping) else config.model_dump(mode="json")
    found: dict[str, str] = {}
    for name, stage in STAGES.items():
        facts = {
            "reads": {key: _value(plain, key) for key in stage.reads},
            "order": [list(_value(plain, key) or ()) for key in ORDERED if reads(name, key)],
            "after": {before: found[before] for before in stage.after},
        }
        found[name] = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return found


def changed_stages(old: Config, new: Config) -> list[str]:
    """The stages that a change of settings makes undone, in order."""
    before, after = stage_hashes(old), stage_hashes(new)
    return [stage for stage in STAGES if before[stage] != after[stage]]


def revisable(old: Config, new: Config) -> bool:
    """Whether a study may be revised: its prompts, images and activations stay as they are."""
    return not set(FIXED) & set(changed_stages(old, new))


def reads(stage: str, key: str) -> bool:
    """Whether a stage itself reads the dotted setting or group ``key``, or something below it."""
    return any(_within(key, known) or _within(known, key) for known in STAGES[stage].reads)


def _within(key: str, group: str) -> bool:
    return key == group or key.startswith(f"{group}.")


def _value(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config
