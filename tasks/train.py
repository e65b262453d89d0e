"""Training: one TopK SAE per site and k, its held-out metrics and its untrained control."""

from __future__ import annotations

import hashlib
from typing import Any

from sae.io import save_sae
from sae.metrics import Metrics, evaluate
from sae.train import make_untrained, train
from storage.vectors import VectorSource
from tasks.parts import publish
from tasks.study import Site, Study, part_name, sae_folder, site_columns, site_path, split_range, store_of, unit_name

UNTRAINED = "untrained"


def source_of(study: Study, site: Site, split: str) -> VectorSource:
    """Every spatial position of a split at a site, as vectors [n, d]."""
    start, stop = split_range(study, split)
    return VectorSource(store_of(study), site, start, stop)


def train_sae(study: Study, site: Site, k: int) -> dict[str, Any]:
    """Train, evaluate on the dictionary split and save one SAE. Returns its metrics row.

    A kill in mid-training resumes from the folder's checkpoint, bit-identical to an undisturbed run.
    """
    source, held_out = source_of(study, site, "train"), source_of(study, site, "dictionary")
    settings, seed = study.config.sae, study.config.seed
    folder = sae_folder(study, site, k)
    result = train(source, settings, k, seed, folder)
    control = make_untrained(source, settings, k, seed)
    shared = {**site_columns(site, k), "seed": seed, "n_train_vectors": result.n_vectors, "gamma": result.gamma}
    rows = [
        {**shared, "kind": "trained", "steps": result.steps, **_columns(evaluate(result.sae, held_out.chunks()))},
        {**shared, "kind": UNTRAINED, "steps": 0, **_columns(evaluate(control, held_out.chunks()))},
    ]
    save_sae(folder, result.sae, _metadata(study, site))
    save_sae(folder / UNTRAINED, control, _metadata(study, site))
    weights = hashlib.sha256((folder / "sae_weights.safetensors").read_bytes()).hexdigest()
    publish(study, "train", unit_name(site, k), {"sae_metrics": rows}, part_name(site, k), {"weights_sha256": weights})
    return rows[0]


def _columns(metrics: Metrics) -> dict[str, Any]:
    return {
        "explained_variance": metrics.explained_variance,
        "fvu": metrics.fvu,
        "scaled_mse": metrics.scaled_mse,
        "l0": metrics.l0,
        "dead_fraction": metrics.dead_fraction,
        "n_vectors": metrics.n_vectors,
    }


def _metadata(study: Study, site: Site) -> dict[str, Any]:
    block, t, conditioning = site
    return {
        "model_name": study.config.model.path.rstrip("/").rsplit("/", 1)[-1],
        "hook_name": f"{study.config.sites.blocks[block]}.residual_update",
        "block": block,
        "timestep": t,
        "conditioning": conditioning,
        "site": site_path(site),
    }
