"""What makes a dictionary good: k, width, length of training and amount of data, against the miniature's truth.

    python -m benchmarks.dictionary_sweep configs/mini.yaml --root runs/mini --truth runs/truth.parquet

Trains SAEs anew on the stored activations of one site of a finished study and scores each with the bench's own
detectors (scope image, means over labels). Nothing of the study is touched.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from concepts.detector_scores import Target, score_method
from sae.members import fold, members_of
from sae.metrics import evaluate_all
from sae.settings import SAESettings
from sae.source import Standardised, measure
from sae.train import train
from storage.site import Site
from storage.vectors import VectorSource
from study.config import load_config
from study.opening import open_or_create
from study.paths import split_range
from study.store import store_of
from study.study import Study
from tasks.bench import MIN_IMAGES, record_truth
from tasks.methods import sae_features
from tasks.train import source_of
from tasks.truth import read_truth

# One thing at a time is changed from the study's own settings; widths of one row are trained together.
CHANGES: list[dict[str, Any]] = [
    {"k": (5, 10, 20), "expansion": (2, 4, 8)},
    {"epochs": 4},
    {"epochs": 8},
    {"epochs": 32},
    {"prompts": 0.25},
    {"prompts": 0.5},
    {"matryoshka": (0.125, 0.375, 1.0)},
]


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--root", required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--site", default="mid/0.50/cond")
    options = parser.parse_args()
    torch.set_num_threads(2)
    study = open_or_create(options.root, load_config(options.config))
    block, t, conditioning = options.site.split("/")
    site = Site(block, float(t), conditioning)
    truth = read_truth(options.truth)
    keys = truth.keys(MIN_IMAGES)
    x = record_truth(study, truth, site[1], conditioning)[0][site]
    target = Target(keys, truth.present(keys), truth.cells(keys, x.shape[1:3]))
    x_IPD = x.reshape(len(x), -1, x.shape[-1])
    print(f"{options.site}: {len(x)} scenes; changed | k | width | seconds | EV | objects P R F1 | all labels P R F1")
    for change in CHANGES:
        for name, sae, facts in trained(study, site, change):
            rows = score_method(sae_features(sae), x_IPD, target, study.config.seed)
            means = {row["kind"]: row for row in rows if row["label"] == "*" and row["scope"] == "image"}
            found = [
                " ".join(f"{means[kind][part]:.3f}" for part in ("precision", "recall", "f1"))
                for kind in ("object", "*")
            ]
            print(name, facts, *found, sep=" | ", flush=True)


def trained(study: Study, site: Site, change: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """(what was changed, SAE in raw units, k, width, seconds and explained variance) of each member of a change."""
    share = change.get("prompts", 1.0)
    settings = SAESettings.model_validate(
        {**study.config.sae.model_dump(), "seeds": 1, "frozen_control": False, "controls": ()}
        | {key: value for key, value in change.items() if key != "prompts"}
    )
    start, stop = split_range(study, "train")
    source = VectorSource(store_of(study), site, start, start + int(share * (stop - start)))
    statistics = measure(source)
    members = members_of(settings, source.d, study.config.seed)
    started = time.time()
    result = train(Standardised(source, statistics), settings, members, study.config.seed)
    seconds = (time.time() - started) / len(members)
    saes = [fold(result.saes[member], statistics.mean, statistics.scale) for member in members]
    measured = evaluate_all(saes, source_of(study.at(site), "dictionary").chunks(), "cpu")
    for member, sae, metrics in zip(members, saes, measured, strict=True):
        text = ", ".join(f"{key} {value}" for key, value in change.items() if key not in ("k", "expansion"))
        facts = f"{member.k} | {member.n} | {seconds:.1f} | {metrics.explained_variance:.3f}"
        yield text or "k, width", sae, facts


if __name__ == "__main__":
    main()
