"""Attending: sample a shard's images again, and record where the words of their captions are attended to.

An optional baseline of layouts (``layout.attention``). Nothing that sampling recorded before says how the text was
read, and the activations of all heads of all steps would be far larger than these maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusion.attention import AttentionMaps, token_positions
from diffusion.model import DiffusionModel
from diffusion.sampling import sample
from study.models import borrowed_model
from study.paths import shard_name
from study.publish import publish, read_shards
from study.reading import prompts_of
from study.study import Study
from study.units import SEGMENTED_SPLITS
from vision.words import mentioned, mentions_at


def attend_shard(study: Study, shard: int) -> dict[str, Any]:
    """Write a shard's part of ``attention_maps``: of every label that caption and segments of an image both name."""
    size = study.config.prompts.shard_size
    start, stop = shard * size, (shard + 1) * size
    shown = _shown(study, start, stop)
    prompts = prompts_of(study, start, stop).to_pylist()
    labels = {row["prompt_id"]: mentioned(row["caption"], shown.get(row["prompt_id"], ())) for row in prompts}
    kept = [row for row in prompts if labels[row["prompt_id"]]]
    rows: list[dict[str, Any]] = []
    with borrowed_model(study) as model:
        for first in range(0, len(kept), study.config.sampling.batch_size):
            batch = kept[first : first + study.config.sampling.batch_size]
            rows += _batch_rows(study, model, batch, labels)
    publish(study, "attend", shard_name(shard), {"attention_maps": rows})
    return {"shard": shard, "maps": len(rows)}


def _shown(study: Study, start: int, stop: int) -> dict[int, list[str]]:
    """Prompt id -> the labels of its segments, sorted, for images of the splits that are segmented."""
    found = read_shards(study, "segments", start, stop, ["prompt_id", "label"], SEGMENTED_SPLITS)
    shown: dict[int, set[str]] = {}
    for prompt_id, label in zip(found["prompt_id"].to_pylist(), found["label"].to_pylist(), strict=True):
        shown.setdefault(prompt_id, set()).add(label)
    return {prompt_id: sorted(labels) for prompt_id, labels in shown.items()}


def _batch_rows(
    study: Study, model: DiffusionModel, batch: list[dict[str, Any]], labels: Mapping[int, list[str]]
) -> list[dict[str, Any]]:
    sites, sampling = study.config.sites, study.config.sampling
    words = [{label: _positions(model, row["caption"], label) for label in labels[row["prompt_id"]]} for row in batch]
    maps = AttentionMaps(sites.blocks, sites.times, sampling.steps, words)
    with maps.attached(model):
        sample(model, [row["caption"] for row in batch], [row["seed"] for row in batch], sampling, decode=False)
    return [
        {"block": block, "t": t, "prompt_id": row["prompt_id"], "label": label, "map": heat.ravel()}
        for (block, t), of_images in maps.taken.items()
        for row, of_image in zip(batch, of_images, strict=True)
        for label, heat in of_image.items()
    ]


def _positions(model: DiffusionModel, caption: str, label: str) -> list[int]:
    return token_positions(model, *mentions_at(caption, label))
