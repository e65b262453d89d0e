"""Causal tracing: what of another caption reaches the image through one attention block, or through several.

Every prompt is sampled as it is, and with another caption read by some blocks in a window (``switch``) or with the
residual updates that the other caption's own run has there (``patch``: cond half, at the same step, from the same
noise). Of looks the other caption asks for the look; of objects it names the next object of the configuration instead.
Blocks are tried one by one at every step; then a set grows by the block that helps most; then every set that was kept
is tried in every window.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from concepts.cases import Case
from concepts.effects import change_outside
from concepts.judging import SEEN
from concepts.traced import grown_sets
from diffusion.edits import Intervention, Patch, Switch
from diffusion.model import DiffusionModel, attention_blocks
from diffusion.sampling import Beginnings, sample
from study.models import backend_of, borrowed_model
from study.publish import publish
from study.study import Study
from study.units import EVERY, targets_of
from tasks.edits import originals_of
from tasks.temporal import fitting_cases

EVERY_STEP = 0.0, 1.0  # the window EVERY
ALL_BLOCKS = "*"
Images = list[np.ndarray]
Blocks = tuple[str, ...]  # module paths


@dataclass(frozen=True)
class Pair:
    """A prompt, and the caption that asks for something else."""

    case: Case
    other: str
    target: str


def run_trace(study: Study, method: str, kind: str) -> dict[str, Any]:
    """Trace one kind by one method; write ``causal_traces`` rows."""
    with borrowed_model(study) as model:
        pairs = pairs_of(study, kind)
        rows = Tracer(study, model, method, kind, pairs).rows() if pairs else []
    publish(study, "trace", f"{method}-{kind}", {"causal_traces": rows})
    return {"unit": f"{method}-{kind}", "rows": len(rows)}


def pairs_of(study: Study, kind: str) -> list[Pair]:
    """The first prompts that fit the temporal atlas, for each target."""
    most, cases = study.config.atlas.trace_prompts, fitting_cases(study, "global")
    if kind == "global":
        asked, looks, first = study.config.atlas.asked_for, targets_of(study, kind), list(islice(cases, most))
        return [Pair(case, asked(case.caption, look), look) for look in looks for _, case in first]
    objects = study.config.interventions.objects
    following = dict(zip(objects, (*objects[1:], *objects[:1]), strict=True))
    pairs: dict[str, list[Pair]] = {label: [] for label in objects if following[label] != label}
    while any(len(of_label) < most for of_label in pairs.values()) and (one := next(cases, None)):
        named, case = one
        if len(pairs.get(named, [])) < most and named in pairs:
            target = following[named]
            pairs[named].append(Pair(case, renamed(case.caption, named, target), target))
    return [pair for of_label in pairs.values() for pair in of_label]


def renamed(caption: str, named: str, instead: str) -> str:
    """The caption with one object in another's place; what stands around it, a plural's s too, is kept."""
    return re.sub(rf"(?i)\b{re.escape(named)}(?=(s|es)?\b)", instead, caption, count=1)


class Tracer:
    """Samples the pairs of one kind under one method, and judges what becomes of the target."""

    def __init__(self, study: Study, model: DiffusionModel, method: str, kind: str, pairs: list[Pair]) -> None:
        self.study, self.model, self.method, self.kind, self.pairs = study, model, method, kind, pairs
        self.blocks = tuple(attention_blocks(model))
        self.before = originals_of(study, [pair.case for pair in pairs])
        self.beginnings, self.told = Beginnings(), dict[Blocks, list[dict[str, Any]]]()
        self.seen_before = self._seen(self.before)

    def rows(self) -> list[dict[str, Any]]:
        """Of every set of blocks and window that is tried."""
        depth = min(self.study.config.atlas.trace_depth, len(self.blocks) - 1)
        sets = [*grown_sets(self.blocks, self.effects, depth), self.blocks]
        self.effects([self.blocks])
        rows = [row for blocks in sets for row in self.told[blocks]]
        for window, (low, high, _) in self.study.config.interventions.windows.items():
            for blocks, images in self._tried(sets, low, high):
                rows += self._judged(blocks, window, images)
        return rows

    @cached_property
    def ceiling(self) -> np.ndarray:
        """float64 [pairs]: the rise of the target's probability in what the other captions' own runs make."""
        return self._seen(self._others()) - self.seen_before

    def effects(self, sets: list[Blocks]) -> dict[Blocks, np.ndarray]:
        """float64 [pairs] of each set: the same where its blocks alone tell of the other caption, at every step.

        Of many sets few are kept, so images are judged as they are made, and only what the judge says is remembered.
        """
        for blocks, images in self._tried(sets, *EVERY_STEP):
            self.told[blocks] = self._judged(blocks, EVERY, images)
        return {blocks: np.array([row["effect"] for row in self.told[blocks]]) for blocks in sets}

    def _others(self) -> Images:
        """What the other captions' own runs make."""
        settings, images = self.study.config.sampling, []
        for pairs in self._batches(settings.batch_size):
            captions, seeds = [pair.other for pair in pairs], [pair.case.seed for pair in pairs]
            images += list(sample(self.model, captions, seeds, settings).images)
        return images

    def _tried(self, sets: list[Blocks], low: float, high: float) -> Iterator[tuple[Blocks, Images]]:
        """One image of each pair for each set, set by set; what is done before is known of the trial before.

        A batch holds some pairs under as many sets as fit: so they share the one run that patches are taken from.
        """
        size, patching = self.study.config.sampling.batch_size, self.method == "patch"
        at_once = max(1, min(len(sets), size - patching))
        for first in range(0, len(sets), at_once):
            chunk = sets[first : first + at_once]
            images: dict[Blocks, Images] = {blocks: [] for blocks in chunk}
            for pairs in self._batches(size // (len(chunk) + patching)):
                made = self._sampled(chunk, pairs, low, high)
                for number, blocks in enumerate(chunk):
                    images[blocks] += list(made[number * len(pairs) : (number + 1) * len(pairs)])
            yield from images.items()

    def _sampled(self, sets: list[Blocks], pairs: list[Pair], low: float, high: float) -> np.ndarray:
        """uint8 [sets * pairs, H, W, 3] and, of patches, the pairs' other captions after them."""
        captions, others = [pair.case.caption for pair in pairs], [pair.other for pair in pairs]
        read = captions * len(sets) + (others if self.method == "patch" else [])
        seeds = [pair.case.seed for pair in pairs] * (len(read) // len(pairs))
        edits, settings = list(self._interventions(sets, pairs, low, high)), self.study.config.sampling
        return sample(self.model, read, seeds, settings, edits=edits, beginnings=self.beginnings).images

    def _interventions(self, sets: list[Blocks], pairs: list[Pair], low: float, high: float) -> Iterator[Intervention]:
        """What is done to a batch of every pair under every set: sets one after the other, then the sources."""
        count = len(pairs)
        sources = tuple(range(len(sets) * count, (len(sets) + 1) * count))
        for number, blocks in enumerate(sets):
            rows = tuple(range(number * count, (number + 1) * count))
            for block in blocks:
                if self.method == "patch":
                    yield Patch(block, low, high, rows, sources)
                else:
                    yield Switch(tuple(pair.other for pair in pairs), low, high, rows, block)

    def _batches(self, size: int) -> list[list[Pair]]:
        size = max(size, 1)
        return [self.pairs[first : first + size] for first in range(0, len(self.pairs), size)]

    def _seen(self, images: Images) -> np.ndarray:
        """float64 [pairs]: the judge's probability of each pair's target, its largest of any pixel for an object."""
        judge, seen = backend_of(self.study).judge, np.zeros(len(images))
        for target in dict.fromkeys(pair.target for pair in self.pairs):
            rows = [row for row, pair in enumerate(self.pairs) if pair.target == target]
            shown = [images[row] for row in rows]
            told = judge.style_score(shown, target) if self.kind == "global" else judge.object_map(shown, target)
            seen[rows] = np.asarray(told, float).reshape(len(rows), -1).max(1)
        return seen

    def _judged(self, blocks: Blocks, window: str, images: Images) -> list[dict[str, Any]]:
        seen = self._seen(images)
        return [
            {
                "method": self.method,
                "kind": self.kind,
                "target": pair.target,
                "blocks": ALL_BLOCKS if len(blocks) == len(self.blocks) else "+".join(blocks),
                "n_blocks": len(blocks),
                "window": window,
                "prompt_id": pair.case.prompt_id,
                "success": bool(seen[row] >= SEEN),
                "effect": float(seen[row] - self.seen_before[row]),
                "ceiling": float(self.ceiling[row]),
                "change": change_outside(self.before[row], images[row], None),
            }
            for row, pair in enumerate(self.pairs)
        ]
