"""What a study will take before it is begun: units of work, and bytes on disk. Worked out from the settings alone.

The activations and the dictionaries are exact to the headers of their files. Images are counted at their raw size,
which a PNG stays below; tables that grow with what is found in the images are not counted.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rich.filesize import decimal

from concepts.edit_controls import edited
from concepts.settings import REGIONS, InterventionSettings
from concepts.strengths import halving_rounds
from diffusion.model import Facts
from sae.members import members_of, shared_members
from study.config import StudyConfig
from study.errors import StudyError
from study.units import FIRST_IMAGES, KINDS, SEGMENTED_SPLITS

ACTIVATION_BYTES, WEIGHT_BYTES = 2, 4  # float16 and float32
ADAM = 2  # moments that a checkpoint holds besides each weight


@dataclass(frozen=True)
class Outlook:
    """Counts of what will be made, and bytes; ``checkpoints`` are there only while SAEs are trained, unless kept."""

    prompts: int
    shards: int
    sites: int
    saes: int
    segmented: int
    dictionaries: int
    edits: int
    activation_bytes: int
    sae_bytes: int
    checkpoint_bytes: int
    image_bytes: int

    @property
    def bytes(self) -> int:
        """The most that is on disk at once."""
        return self.activation_bytes + self.sae_bytes + self.checkpoint_bytes + self.image_bytes


def outlook(config: StudyConfig, facts: Facts) -> Outlook:
    """What the configuration asks for, of a model with such blocks and images."""
    prompts, sites = sum(config.prompts.sizes.values()), config.sites_list()
    image = 3 * facts.height * facts.width
    edits = edits_of(config)
    saes, sae_bytes, checkpoints = _saes(config, facts)
    return Outlook(
        prompts=prompts,
        shards=-(-prompts // config.prompts.shard_size),
        sites=len(sites),
        saes=saes,
        segmented=sum(config.prompts.sizes[split] for split in SEGMENTED_SPLITS),
        dictionaries=len(sites) * len(config.sae.k),
        edits=edits,
        activation_bytes=sum(prompts * _vectors(facts, block) * _channels(facts, block) for block, _, _ in sites)
        * ACTIVATION_BYTES,
        sae_bytes=sae_bytes,
        checkpoint_bytes=checkpoints,
        image_bytes=image * (kept_images(config) + (edits if config.interventions.keep_images else 0)),
    )


def kept_images(config: StudyConfig) -> int:
    """Images of the study that are stored: of the train split only the first ones, unless all are asked for."""
    splits = config.prompts.sizes
    total = sum(splits.values())
    dropped = 0 if config.sampling.train_images else max(splits["train"] - _shown_of_train(config), 0)
    return total - dropped


def _shown_of_train(config: StudyConfig) -> int:
    before = 0
    for name, size in config.prompts.sizes.items():
        if name == "train":
            return min(max(FIRST_IMAGES - before, 0), size)
        before += size
    return 0


def edits_of(config: StudyConfig) -> int:
    """At most so many edited images are kept in the tables: every case by concepts and by each control."""
    edits, images = config.interventions, 0
    for kind, targets in zip(KINDS, (edits.objects, edits.styles), strict=True):
        regions = len(REGIONS) if kind == "spatial" else 1
        prompts = min(edits.prompts_of(kind), config.prompts.sizes["style"])
        images += len(edited(edits.controls, kind)) * len(targets) * len(edits.windows) * prompts * regions
    return images


def trial_edits_of(config: StudyConfig) -> int:
    """At most so many images are edited to choose the strengths, and not kept.

    Successive halving has one image of a random direction for all looks at best; counted is one for each.
    """
    edits, images = config.interventions, 0
    for targets, strengths in (
        (edits.objects, edits.spatial_strengths),
        (edits.styles, edits.global_strengths),
    ):
        if len(strengths) > 1:
            images += 2 * len(targets) * len(edits.windows) * _trials(len(strengths), edits)
    return images


def _trials(strengths: int, edits: InterventionSettings) -> int:
    """Images by which a target's strengths are tried in a window."""
    if edits.calibration == "full":
        return strengths * edits.calibration_images
    trials = before = 0
    for images in halving_rounds(edits.calibration_images, strengths):
        trials, before, strengths = trials + strengths * (images - before), images, -(-strengths // 2)
    return trials


def _saes(config: StudyConfig, facts: Facts) -> tuple[int, int, int]:
    """SAEs of all sites, their bytes, and the bytes of the checkpoints that are on disk at once."""
    count = size = 0
    stacks = []
    for block, _, _ in config.sites_list():
        d, k = _channels(facts, block), len(config.sae.k)
        members = members_of(config.sae, d, config.seed)
        width = config.sae.expansion[0] * d
        shared = shared_members(config.sae, d, config.seed) if config.sae.across_time else []
        controls = k + len(shared)  # the untrained one, and those of all times
        stacks.append(sum(sae_size(d, member.n) for member in members))
        size += stacks[-1] + controls * sae_size(d, width)
        count += len(members) + controls
    largest = sorted((stack * (1 + ADAM) for stack in stacks), reverse=True)
    at_once = largest if config.run.keep_checkpoints else largest[: config.run.at_once]
    return count, size, sum(at_once)


def sae_size(d: int, n: int) -> int:
    """Bytes of an SAE's weights: encoder, decoder and both biases."""
    return WEIGHT_BYTES * (2 * d * n + d + n)


def _vectors(facts: Facts, block: str) -> int:
    rows, columns, _ = facts.shapes[block]
    return rows * columns


def _channels(facts: Facts, block: str) -> int:
    return facts.shapes[block][2]


def told(forecast: Outlook) -> list[str]:
    """The outlook in lines for a terminal."""
    checkpoints = decimal(forecast.checkpoint_bytes)
    rows = [
        ("collect", f"{forecast.prompts:,} prompts in {forecast.shards:,} shards, {forecast.sites} sites of each"),
        ("train", f"{forecast.saes:,} SAEs, controls included"),
        ("label", f"{forecast.segmented:,} images to segment, {forecast.dictionaries} dictionaries to label"),
        ("intervene", f"at most {forecast.edits:,} edited images"),
        ("activations", decimal(forecast.activation_bytes)),
        ("SAEs", f"{decimal(forecast.sae_bytes)}, and {checkpoints} of checkpoints while they are trained"),
        ("images", f"at most {decimal(forecast.image_bytes)}"),
    ]
    return [f"{name:<12} {what}" for name, what in rows]


def refuse_no_room(root: Path, forecast: Outlook) -> None:
    """Raise ``StudyError`` if the disk that ``root`` is to lie on has less room than the study will take."""
    above = root.absolute()
    while not above.exists() and above != above.parent:
        above = above.parent
    free = shutil.disk_usage(above).free
    if forecast.bytes > free:
        raise StudyError(
            f"--root {root}: the study takes up to {decimal(forecast.bytes, precision=2)}, and the disk has "
            f"{decimal(free, precision=2)} left: choose another disk, fewer prompts (prompts.splits) or fewer sites"
        )


def hours(seconds: float) -> str:
    """A length of time as one says it: in seconds, minutes, hours or days."""
    for unit, length, most in (("s", 1, 100), ("min", 60, 100 * 60), ("h", 3600, 72 * 3600)):
        if seconds < most:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
