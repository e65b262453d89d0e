"""What brings a dictionary away from the random rows it began as, for the least time: one thing changed at a time.

    concepts collect configs/mini.yaml --root runs/second --set seed=1 --set prompts.splits.train=1024 \
        --set prompts.splits.layout=8 --set prompts.splits.style=8
    python -m miniature.truth --scenes 600 --first 60000000 --out runs/second.parquet
    python -m benchmarks.leaving_the_start configs/mini.yaml --root runs/second --truth runs/second.parquet

Another seed's prompts and noise and other scenes than the demo and its bench have: what is chosen here is reported
there. Trains two seeds of each dictionary on the stored activations of a site and prints a line of Markdown: seconds of
one processor for both, held-out explained variance, dead latents, mean cosine of decoder rows to their start, share of
latents whose own start is the nearest of all, stability (one-to-one partners of the two seeds), and the F1 of the
bench's detectors of objects on images, averaged over the two. Nothing of the study is touched.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import sae.members
from concepts.detector_scores import Target, score_method
from sae.members import Stack, fold, members_of
from sae.metrics import evaluate_all, stability
from sae.model import SAE
from sae.settings import SAESettings
from sae.source import Standardised, measure
from sae.source import VectorSource as Vectors
from sae.start import cosines_to_start, own_start_is_nearest
from sae.train import train
from storage.site import Site
from storage.vectors import VectorSource
from study.config import load_config
from study.opening import open_or_create
from study.paths import split_ranges
from study.study import Study
from tasks.bench import MIN_IMAGES, record_truth
from tasks.methods import sae_features
from tasks.train import source_of
from tasks.truth import read_truth

SECOND = ["seed=1", "prompts.splits.train=1024", "prompts.splits.layout=8", "prompts.splits.style=8"]
PROMPTS = 256  # of the train split that are used, as many as the demo has
COLUMNS = ["changed", "seconds", "explained variance", "dead", "cosine to the start", "own start nearest"]
COLUMNS += ["stability", "objects F1"]
# The demo's settings until this was measured.
FORMER: dict[str, Any] = {
    "lr": 1e-3,
    "epochs": 14,
    "vectors": None,
    "axes": "channels",
    "encoder_start": 1.0,
    "adam_betas": (0.9, 0.999),
    "dead_after_vectors": 10_000,
    "dead_check_every": 50,
}
# (name, what is changed of the study's own settings)
CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("the former settings", FORMER),
    ("the former settings, lr 3e-3", {**FORMER, "lr": 3e-3}),
    ("the former settings, lr 1e-2", {**FORMER, "lr": 1e-2}),
    ("the former settings, 56 epochs", {**FORMER, "epochs": 56}),
    ("nothing: the demo's settings", {}),
    ("axes: channels", {"axes": "channels"}),
    ("encoder_start 1", {"encoder_start": 1.0}),
    ("adam_betas 0.9, 0.999", {"adam_betas": (0.9, 0.999)}),
    ("lr 2e-3", {"lr": 2e-3}),
    ("lr 2e-2", {"lr": 2e-2}),
    ("batch_size 256", {"batch_size": 256}),
    ("batch_size 1024", {"batch_size": 1024}),
    ("dead_after_vectors 10000", {"dead_after_vectors": 10_000, "dead_check_every": 50}),
    ("aux_alpha 0 (no AuxK)", {"aux_alpha": 0.0}),
    ("aux_alpha 1/4", {"aux_alpha": 0.25}),
    ("decay over the last half", {"decay_fraction": 0.5}),
    ("half the vectors", {"share": 0.5}),
    ("twice the vectors", {"share": 2.0}),
    ("512 prompts", {"prompts": 512}),
    ("1024 prompts", {"prompts": 1024}),
    ("expansion 2", {"expansion": 2}),
    ("expansion 8", {"expansion": 8}),
    ("k 5", {"k": (5,)}),
    ("k 20", {"k": (20,)}),
    ("Matryoshka (1/8, 3/8, 1)", {"matryoshka": (0.125, 0.375, 1.0)}),
    ("start: vectors of the data", {"start": "vectors"}),
    ("start: k-means of the data", {"start": "k-means"}),
]


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--root", required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--sites", nargs="+", default=["mid/0.50/cond", "up/0.00/cond", "down/1.00/cond"])
    parser.add_argument("--only", nargs="+", help="names of changes, or parts of them")
    options = parser.parse_args()
    torch.set_num_threads(1)
    study = open_or_create(options.root, load_config(options.config, SECOND))
    for path in options.sites:
        block, t, conditioning = path.split("/")
        trial = Trial.at(study, Site(block, float(t), conditioning), options.truth)
        print(f"\n{path}\n\n| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
        for name, change in CHANGES:
            if not options.only or any(part in name for part in options.only):
                print(trial.line(name, change), flush=True)


@dataclass
class Trial:
    """One site: its vectors, and the truth as the model sees it there, x [I, P, D]."""

    study: Study
    site: Site
    x_IPD: np.ndarray
    target: Target

    @classmethod
    def at(cls, study: Study, site: Site, truth_path: Path) -> Trial:
        """Record the truth at the site."""
        truth = read_truth(truth_path)
        keys = truth.keys(MIN_IMAGES)
        x = record_truth(study, truth, site.t, site.conditioning)[0][site]
        target = Target(keys, truth.present(keys), truth.cells(keys, x.shape[1:3]))
        return cls(study, site, x.reshape(len(x), -1, x.shape[-1]), target)

    def line(self, name: str, change: dict[str, Any], source: Vectors | None = None) -> str:
        """Train under one change, or on other vectors, and measure: a row of the table."""
        changed = dict(change)
        prompts, share, start = (changed.pop(key, None) for key in ("prompts", "share", "start"))
        own = {**self.study.config.sae.model_dump(), "seeds": 2, "frozen_control": False, "controls": ()}
        if share:
            changed["vectors"] = int(share * own["vectors"])
        settings = SAESettings.model_validate(own | changed)
        source = source or self.source(prompts or PROMPTS)
        statistics = measure(source)
        data = Standardised(source, statistics)
        members = members_of(settings, source.d, self.study.config.seed)
        with drawn_from(start, data):
            began = Stack(source.d, members).start.view(2, -1, source.d)
            clock = time.process_time()
            result = train(data, settings, members, self.study.config.seed)
            seconds = time.process_time() - clock
        first, second = (fold(result.saes[member], statistics.mean, statistics.scale) for member in members)
        measured = evaluate_all([first, second], source_of(self.study.at(self.site), "dictionary").chunks())
        moved = [from_start(sae.concept_vectors(), rows) for sae, rows in zip((first, second), began, strict=True)]
        parts = [
            *(name, f"{seconds:.1f}", f"{100 * np.mean([m.explained_variance for m in measured]):.1f} %"),
            f"{100 * np.mean([m.dead_fraction for m in measured]):.1f} %",
            f"{np.mean([cosine for cosine, _ in moved]):.2f}",
            f"{100 * np.mean([nearest for _, nearest in moved]):.0f} %",
            f"{stability(first.concept_vectors(), second.concept_vectors()):.2f}",
            f"{np.mean([self._objects(sae) for sae in (first, second)]):.3f}",
        ]
        return f"| {' | '.join(parts)} |"

    def source(self, prompts: int) -> VectorSource:
        """The site's vectors of so many prompts of the train split."""
        start, _ = split_ranges(self.study, "train")[0]
        return VectorSource(self.study.at(self.site).store, self.site, [(start, start + prompts)])

    def _objects(self, sae: SAE) -> float:
        rows = score_method(sae_features(sae), self.x_IPD, self.target, self.study.config.seed)
        return next(r["f1"] for r in rows if (r["scope"], r["kind"], r["label"]) == ("image", "object", "*"))


def from_start(rows_MD: Tensor, start_MD: Tensor) -> tuple[float, float]:
    """Mean cosine of rows to their own start, and the share of rows whose own start is the nearest of all."""
    cosine_M, nearest_M = cosines_to_start(rows_MD, start_MD), own_start_is_nearest(rows_MD, start_MD)
    return float(cosine_M.mean()), float(nearest_M.float().mean())


@contextmanager
def drawn_from(start: str | None, data: Standardised) -> Iterator[None]:
    """Have dictionaries begin as vectors of the data or as means of clusters: tried, and not kept as a setting."""
    usual = sae.members._unit_rows
    draw: dict[str | None, Callable[[int, int, int], Tensor]] = {
        None: usual,
        "vectors": lambda n, _d, seed: _unit(_some(data, seed)[:n]),
        "k-means": lambda n, _d, seed: _clusters(_unit(_some(data, seed)), n),
    }
    sae.members._unit_rows = draw[start]
    try:
        yield
    finally:
        sae.members._unit_rows = usual


def _some(data: Standardised, seed: int) -> Tensor:
    return next(iter(data.batches(8192, seed, 0)))


def _unit(rows_ND: Tensor) -> Tensor:
    return rows_ND / rows_ND.norm(dim=1, keepdim=True).clamp_min(1e-12)


def _clusters(unit_ND: Tensor, n: int, rounds: int = 10) -> Tensor:
    """Spherical k-means from the first n vectors."""
    centres = unit_ND[:n].clone()
    for _ in range(rounds):
        nearest = (unit_ND @ centres.T).argmax(1)
        centres = _unit(torch.zeros_like(centres).index_add_(0, nearest, unit_ND) + 1e-6 * centres)
    return centres


if __name__ == "__main__":
    main()
