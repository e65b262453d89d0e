"""Causal tracing: what of another caption reaches the image through one attention block, or through several.

Every prompt is sampled as it is, and with another caption read by some blocks in a window (``switch``) or with the
residual updates that the other caption's own run has there (``patch``: cond half, at the same step, from the same
noise). Of looks the other caption asks for the look; of objects it names the next object of the configuration instead.
Blocks are tried one by one at every step; then a set grows by the block that helps most; then every set that was kept
is tried in every window.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from concepts.cases import Case
from concepts.effects import change_outside
from concepts.judging import SEEN
from diffusion.edits import Intervention, Patch, Switch
from diffusion.model import DiffusionModel, attention_blocks
from diffusion.sampling import Beginnings, sample
from study.models import backend_of, borrowed_model
from study.publish import publish
from study.study import Study
from study.units import targets_of
from tasks.edits import originals_of
from tasks.temporal import fitting_cases

EVERY = "all"  # the window of every step
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
        self.beginnings = Beginnings()
        self.seen_before = self._seen(self.before)

    def rows(self) -> list[dict[str, Any]]:
        """Of every set of blocks and window that is tried."""
        ceiling = self._seen(self._others()) - self.seen_before
        sets: dict[Blocks, Images] = {(block,): self._tried((block,), 0.0, 1.0) for block in self.blocks}
        sets |= self._growing(sets)
        sets[self.blocks] = self._tried(self.blocks, 0.0, 1.0)
        rows = [row for blocks, images in sets.items() for row in self._judged(blocks, EVERY, images, ceiling)]
        for window, (low, high, _) in self.study.config.interventions.windows.items():
            for blocks in sets:
                rows += self._judged(blocks, window, self._tried(blocks, low, high), ceiling)
        return rows

    def _others(self) -> Images:
        """What the other captions' own runs make."""
        settings, images = self.study.config.sampling, []
        for pairs in self._batches(settings.batch_size):
            captions, seeds = [pair.other for pair in pairs], [pair.case.seed for pair in pairs]
            images += list(sample(self.model, captions, seeds, settings).images)
        return images

    def _growing(self, singles: dict[Blocks, Images]) -> dict[Blocks, Images]:
        """Sets of two blocks and more: each the one before and the block that raises the target most besides."""
        found: dict[Blocks, Images] = {}
        chosen = max(singles, key=lambda blocks: self._effect(singles[blocks]))
        for _ in range(min(self.study.config.atlas.trace_depth, len(self.blocks) - 1) - 1):
            tried = {(*chosen, b): self._tried((*chosen, b), 0.0, 1.0) for b in self.blocks if b not in chosen}
            chosen = max(tried, key=lambda blocks: self._effect(tried[blocks]))
            found[chosen] = tried[chosen]
        return found

    def _effect(self, images: Images) -> float:
        return float((self._seen(images) - self.seen_before).mean())

    def _tried(self, blocks: Sequence[str], low: float, high: float) -> Images:
        """One image of each pair; patches have their source in the batch beside them."""
        settings, images = self.study.config.sampling, []
        for pairs in self._batches(settings.batch_size // 2 if self.method == "patch" else settings.batch_size):
            captions, seeds = [pair.case.caption for pair in pairs], [pair.case.seed for pair in pairs]
            if self.method == "patch":
                captions, seeds = captions + [pair.other for pair in pairs], seeds + seeds
            edits = list(self._interventions(blocks, low, high, pairs))
            made = sample(self.model, captions, seeds, settings, edits=edits, beginnings=self.beginnings).images
            images += list(made[: len(pairs)])
        return images

    def _interventions(
        self, blocks: Sequence[str], low: float, high: float, pairs: list[Pair]
    ) -> Iterator[Intervention]:
        rows, others = tuple(range(len(pairs))), tuple(range(len(pairs), 2 * len(pairs)))
        for block in blocks:
            if self.method == "patch":
                yield Patch(block, low, high, rows, others)
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

    def _judged(self, blocks: Blocks, window: str, images: Images, ceiling: np.ndarray) -> list[dict[str, Any]]:
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
                "ceiling": float(ceiling[row]),
                "change": change_outside(self.before[row], images[row], None),
            }
            for row, pair in enumerate(self.pairs)
        ]
