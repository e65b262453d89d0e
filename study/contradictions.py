"""Settings that contradict each other, refused with a sentence before a study is begun or revised under them.

Each entry of ``PAIRS`` holds two settings that no study can mean together: one asks for what the other rules out, or is
read by nothing under it. docs/inputs.md lists them. What makes a single group of settings impossible is refused by that
group itself. A study that was begun under such settings by an earlier version goes on: its results follow from them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

from storage.errors import StorageError
from study.config import StudyConfig
from study.errors import StudyError
from study.slots import kind_of
from vision.settings import TransformersSettings

NOT_KNOWN = sys.maxsize  # how many prompts a split has


class Pair(NamedTuple):
    """Two settings, and what is said where they contradict each other: None where they do not."""

    one: str
    other: str
    told: Callable[[StudyConfig], str | None]


def refuse_contradictions(config: StudyConfig) -> None:
    """Raise ``StudyError`` for the first pair of settings that contradict each other."""
    for pair in PAIRS:
        if (told := pair.told(config)) is not None:
            raise StudyError(told)


def refuse_contradicting_run(config: StudyConfig) -> None:
    """The same of the pairs that say how a run is executed, which are no part of the study that it goes on with."""
    for pair in PAIRS:
        if pair.one.startswith("run.") and (told := pair.told(config)) is not None:
            raise StudyError(told)


def _zero_shot_without_clip(config: StudyConfig) -> str | None:
    given = _transformers(config)
    if given is None or given.tagger != "zero-shot" or given.clip:
        return None
    return (
        "vision.transformers.tagger is 'zero-shot', but vision.transformers.clip names no model that could score the "
        "words: name a CLIP or SigLIP there, or take the tagger 'caption'"
    )


def _clip_without_zero_shot(config: StudyConfig) -> str | None:
    given = _transformers(config)
    if given is None or given.tagger == "zero-shot" or not given.clip:
        return None
    return (
        f"vision.transformers.clip is given, but only the tagger 'zero-shot' reads it, and the tagger is "
        f"{given.tagger!r}: drop one of the two"
    )


def _objects_without_judge(config: StudyConfig) -> str | None:
    return _no_judge(config, "objects", "judge_clipseg", "a CLIPSeg")


def _styles_without_judge(config: StudyConfig) -> str | None:
    return _no_judge(config, "styles", "judge_clip", "a CLIP or SigLIP")


def _no_judge(config: StudyConfig, targets: str, judge: str, kind: str) -> str | None:
    given = _transformers(config)
    if given is None or not getattr(config.interventions, targets) or getattr(given, judge):
        return None
    return (
        f"interventions.{targets} are to be judged, but vision.transformers.{judge} names no judge: name {kind} "
        "model there, or drop the targets"
    )


def _mini_beside_transformers(config: StudyConfig) -> str | None:
    return _idle_group(config, "mini", "transformers")


def _transformers_beside_mini(config: StudyConfig) -> str | None:
    return _idle_group(config, "transformers", "mini")


def _idle_group(config: StudyConfig, group: str, backend: str) -> str | None:
    """A plug-in may read either group."""
    if config.vision.backend != backend or getattr(config.vision, group) is None:
        return None
    return (
        f"vision.{group} is given, but vision.backend is {backend!r}, which does not read it: drop the group (`--set "
        f"vision.{group}=null` does), or choose the backend {group!r}"
    )


def _words_for_mini(config: StudyConfig) -> str | None:
    vision = config.vision
    given = "vocabulary_file" if vision.vocabulary_file else "vocabulary"
    if vision.backend != "mini" or not getattr(vision, given):
        return None
    return (
        f"vision.{given} is given, but vision.backend is 'mini', whose network knows its own labels alone: drop the "
        "words, or choose another backend"
    )


def _vectors_without_their_embedder(config: StudyConfig) -> str | None:
    labels = config.labels
    if labels.embedder == "word2vec" or not labels.word2vec_path:
        return None
    return (
        f"labels.word2vec_path is given, but labels.embedder is {labels.embedder!r}, which reads no such file: set "
        "labels.embedder to 'word2vec', or drop the path"
    )


def _dropped_though_assigned(config: StudyConfig) -> str | None:
    labels = config.labels
    if labels.keep_iou <= labels.assign_iou:
        return None
    return (
        f"labels.keep_iou is {labels.keep_iou:g}, above labels.assign_iou {labels.assign_iou:g}: pairs that come near "
        "to a label would be left out, and only labels stay; lower keep_iou"
    )


def _no_targets(config: StudyConfig) -> str | None:
    if config.interventions.objects or config.interventions.styles:
        return None
    return "interventions.objects and interventions.styles are both empty: name at least one target of either"


def _one_object_to_trace(config: StudyConfig) -> str | None:
    edits, blocks = config.interventions, list(config.sites.blocks)
    if len(edits.objects) != 1 or len(blocks) == 1 or edits.named_blocks("spatial"):
        return None
    return (
        f"interventions.objects names {edits.objects[0]!r} alone, but which block its edits are made at is left to a "
        "trace, which asks for another object in its place: name the block in interventions.spatial_block "
        f"({', '.join(blocks)}), or a second object"
    )


def _similarity_without_words(config: StudyConfig) -> str | None:
    if not config.interventions.similarity or config.vision.backend != "mini":
        return None
    return (
        "interventions.similarity asks for similarities to words, but vision.backend is 'mini', whose judge knows its "
        "own looks alone: drop it, or choose another backend"
    )


def _address_without_dask(config: StudyConfig) -> str | None:
    run = config.run
    if run.task_runner == "dask" or not run.dask_address:
        return None
    return (
        "run.dask_address is given, but run.task_runner is 'thread', which uses no cluster: set run.task_runner to "
        "'dask', or drop the address"
    )


def _resources_of_no_running_cluster(config: StudyConfig) -> str | None:
    run = config.run
    if run.dask_address or not run.dask_resources:
        return None
    return (
        "run.dask_resources is given, but run.dask_address names no running cluster, and nobody else's workers declare "
        "any: give the address, or drop the resources"
    )


def _devices_beside_a_model_of_another(config: StudyConfig) -> str | None:
    return _other_device(config, "model.device", config.model.device, "'auto'")


def _devices_beside_vision_of_another(config: StudyConfig) -> str | None:
    given = _transformers(config)
    kinds = sorted(set(map(kind_of, config.run.devices)))
    return _other_device(config, "vision.transformers.device", given.device, repr("".join(kinds))) if given else None


def _other_device(config: StudyConfig, name: str, device: str, instead: str) -> str | None:
    """What is said of a setting that keeps models off the devices that units are to have."""
    devices = config.run.devices
    if not devices or device in ("auto", kind_of(devices[0])) or set(devices) == {device}:
        return None
    return (
        f"run.devices is [{', '.join(devices)}], but {name} is {device!r}, which has every unit elsewhere: set it to "
        f"{instead}, or drop run.devices"
    )


def _devices_beside_other_workers(config: StudyConfig) -> str | None:
    devices, workers = config.run.devices, config.run.max_workers
    if not devices or workers in (1, len(devices)):
        return None
    return (
        f"run.max_workers is {workers}, but run.devices names {len(devices)}, and as many units run at once: drop "
        "run.max_workers, or name a device once for each unit that it is to have at once"
    )


def _devices_beside_a_cluster(config: StudyConfig) -> str | None:
    if not config.run.devices or not config.run.dask_address:
        return None
    return (
        "run.devices names devices of this machine, but the workers of run.dask_address have their own: start each "
        "with CUDA_VISIBLE_DEVICES, and drop run.devices"
    )


def _refreshed_though_nothing_comes_in(config: StudyConfig) -> str | None:
    if config.sae.refresh == "never" or config.prompts.grows:
        return None
    return (
        f"sae.refresh is '{config.sae.refresh}', but with prompts.split_by 'order' a study is of its first captions "
        "for good: set prompts.split_by to 'caption', or drop sae.refresh"
    )


def _no_image_to_label(config: StudyConfig) -> str | None:
    images, needed = _sizes(config).get("dictionary", NOT_KNOWN), config.labels.assign_images
    if needed <= (images + 1) // 2:
        return None
    return (
        f"labels.assign_images is {needed}, but the selection half of prompts.splits.dictionary ({images}) has only "
        f"{(images + 1) // 2} images: no concept could get a label; lower the one or raise the other"
    )


def _sizes(config: StudyConfig) -> dict[str, int]:
    """Prompts of each split; nothing where they are shares of a source that cannot be read, which is said elsewhere."""
    try:
        return config.prompts.sizes
    except StorageError:
        return {}


def _no_layout_to_score(config: StudyConfig) -> str | None:
    needed, splits = config.layout.min_images, _sizes(config)
    for split in ("dictionary", "layout"):
        if needed > splits.get(split, NOT_KNOWN):
            return (
                f"layout.min_images is {needed}, but prompts.splits.{split} has only {splits[split]} images: no label "
                "could be scored; lower the one or raise the other"
            )
    return None


def _fewer_fitted_than_needed(config: StudyConfig) -> str | None:
    layout = config.layout
    if layout.min_images <= layout.fit_images:
        return None
    return (
        f"layout.min_images is {layout.min_images}, but layout.fit_images takes at most {layout.fit_images} of a "
        "label's images: none could be scored; lower the one or raise the other"
    )


def _transformers(config: StudyConfig) -> TransformersSettings | None:
    """The group of the transformers backend where that is chosen."""
    return config.vision.transformers if config.vision.backend == "transformers" else None


PAIRS = (
    Pair("vision.backend", "vision.mini", _mini_beside_transformers),
    Pair("vision.backend", "vision.transformers", _transformers_beside_mini),
    Pair("vision.backend", "vision.vocabulary", _words_for_mini),
    Pair("vision.transformers.tagger", "vision.transformers.clip", _zero_shot_without_clip),
    Pair("vision.transformers.clip", "vision.transformers.tagger", _clip_without_zero_shot),
    Pair("interventions.objects", "vision.transformers.judge_clipseg", _objects_without_judge),
    Pair("interventions.styles", "vision.transformers.judge_clip", _styles_without_judge),
    Pair("interventions.objects", "interventions.styles", _no_targets),
    Pair("interventions.objects", "interventions.spatial_block", _one_object_to_trace),
    Pair("interventions.similarity", "vision.backend", _similarity_without_words),
    Pair("labels.word2vec_path", "labels.embedder", _vectors_without_their_embedder),
    Pair("labels.keep_iou", "labels.assign_iou", _dropped_though_assigned),
    Pair("labels.assign_images", "prompts.splits", _no_image_to_label),
    Pair("layout.min_images", "prompts.splits", _no_layout_to_score),
    Pair("layout.min_images", "layout.fit_images", _fewer_fitted_than_needed),
    Pair("sae.refresh", "prompts.split_by", _refreshed_though_nothing_comes_in),
    Pair("run.dask_address", "run.task_runner", _address_without_dask),
    Pair("run.dask_resources", "run.dask_address", _resources_of_no_running_cluster),
    Pair("run.devices", "model.device", _devices_beside_a_model_of_another),
    Pair("run.devices", "vision.transformers.device", _devices_beside_vision_of_another),
    Pair("run.devices", "run.max_workers", _devices_beside_other_workers),
    Pair("run.devices", "run.dask_address", _devices_beside_a_cluster),
)
