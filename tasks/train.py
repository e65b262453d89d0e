"""Training: every SAE of a site from one read of its activations, with metrics and controls.

A site's members are its dictionaries (one a k), further widths and seeds, and the frozen controls; they are trained
stacked. The untrained control needs no step. ``train_shared`` trains one SAE per (block, conditioning, k) on all times
together, and folds it with each time's own mean and scale, so that a CID is one direction at every time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sae.checkpoint import Places, remove_checkpoint
from sae.io import CONFIG, WEIGHTS, save_sae
from sae.members import Member, fold, members_of, untrained
from sae.metrics import Metrics, evaluate_all, stability
from sae.model import SAE
from sae.source import Conditioned, Statistics, Together, load_statistics, measure, save_statistics
from sae.train import Trained, train
from storage.vectors import VectorSource
from study.devices import training_device
from study.paths import (
    Site,
    sae_folder,
    series_name,
    shared_folder,
    site_columns,
    site_folder,
    site_path,
    split_range,
    time_series,
    unit_name,
)
from study.publish import lacking, publish
from study.saes import FROZEN, SHARED, TRAINED, UNTRAINED, member_folder
from study.store import store_of
from study.study import Study
from tasks.artifacts import train_artifacts

LOG, STATISTICS = "log.jsonl", "statistics.safetensors"
Progress = Callable[[int, int, Any], None]


def source_of(study: Study, site: Site, split: str, buffer_bytes: int | None = 0) -> VectorSource:
    """Every spatial position of a split at a site, as vectors [n, d]; without a buffer, to be read once in order."""
    start, stop = split_range(study, split)
    return VectorSource(store_of(study), site, start, stop, buffer_bytes=buffer_bytes)


def training_source(study: Study, site: Site, sharing: int = 1) -> VectorSource:
    """The vectors of the train split, in a buffer of ``sae.buffer_gb`` or, where several are read at once, a share."""
    size = study.config.sae.buffer_gb
    return source_of(study, site, "train", None if size is None else int(size * 1e9) // sharing)


def site_statistics(study: Study, site: Site, source: VectorSource) -> Statistics:
    """Mean and scale of a site's training vectors: measured in one pass, then kept beside its SAEs."""
    path = site_folder(study, site) / STATISTICS
    known = load_statistics(path)
    if known is None or known.n_vectors != source.n_vectors:
        known = measure(source)
        save_statistics(path, known)
    return known


def train_site(study: Study, site: Site, on_progress: Progress | None = None) -> dict[str, Any]:
    """Train, evaluate on the dictionary split and save every SAE of a site. Returns counts and cautions for the log.

    A kill in mid-training resumes from the site's checkpoint, bit-identical to an undisturbed run.
    """
    source = training_source(study, site)
    statistics = site_statistics(study, site, source)
    members = members_of(study.config.sae, source.d, study.config.seed)
    places = site_places(study, site, members)
    data, seed = Conditioned(source, statistics), study.config.seed
    result = train(data, study.config.sae, members, seed, places, on_progress, training_device(study, site))
    found = {(kind_of(member), member): sae for member, sae in result.saes.items()}
    found |= {(UNTRAINED, m): untrained(source.d, m) for m in dictionaries(study, members)}
    for sae in found.values():
        fold(sae, statistics.mean, statistics.scale)
    rows = _save_and_measure(study, site, found, result, statistics)
    for k in study.config.sae.k:
        _publish(study, site, k, [row for row in rows if row["k"] == k])
    _discard(study, places)
    return {
        "steps": result.steps,
        "vectors_per_s": result.n_vectors / max(result.seconds, 1e-9),
        "waited_for_loader": result.waited,
        "cautions": statistics.cautions(site_path(site)),
    }


def site_places(study: Study, site: Site, members: list[Member]) -> Places:
    """Where a site's checkpoint lies."""
    commit = site_folder(study, site) / "checkpoint.json"
    return Places(commit, {member: member_folder(study, site, member) for member in members})


def shared_places(study: Study, block: str, conditioning: str, members: list[Member]) -> Places:
    """Where the checkpoint of the SAEs of all times lies."""
    home = shared_folder(study, block, conditioning)
    return Places(home / "checkpoint.json", {member: home / f"k{member.k}" for member in members})


def shared_members(study: Study, channels: int) -> list[Member]:
    """The SAEs of all times of a block: one a k."""
    return [Member(k, study.config.sae.expansion[0] * channels, study.config.seed) for k in study.config.sae.k]


def _discard(study: Study, places: Places) -> None:
    """A checkpoint has three times the bytes of the SAEs that were published from it, and nothing goes on from it."""
    if not study.config.run.keep_checkpoints:
        remove_checkpoint(places)


def end(study: Study) -> dict[str, Any]:
    """Remove what a kill left of finished training, and show the metrics."""
    sweep_checkpoints(study)
    train_artifacts(study)
    return {}


def sweep_checkpoints(study: Study) -> None:
    """Remove the checkpoints of SAEs that are published: a kill may have come before they were removed."""
    settings, store, seed = study.config.sae, store_of(study), study.config.seed
    for site in study.config.sites_list():
        if not lacking(study, "train", [unit_name(site, k) for k in settings.k]):
            _discard(study, site_places(study, site, members_of(settings, store.shape(site)[2], seed)))
    for block, conditioning in time_series(study) if settings.across_time else ():
        if not lacking(study, "share", [series_name(block, conditioning)]):
            channels = store.shape((block, study.config.sites.times[0], conditioning))[2]
            _discard(study, shared_places(study, block, conditioning, shared_members(study, channels)))


def dictionaries(study: Study, members: list[Member]) -> list[Member]:
    """The members that later stages use: first width, first seed, trained."""
    width = members[0].n  # members_of lists the dictionaries first
    return [m for m in members if (m.n, m.seed, m.frozen) == (width, study.config.seed, False)]


def kind_of(member: Member) -> str:
    """The ``kind`` of a trained member's rows."""
    return FROZEN if member.frozen else TRAINED


def _save_and_measure(
    study: Study, site: Site, found: dict[tuple[str, Member], SAE], result: Trained, statistics: Statistics
) -> list[dict[str, Any]]:
    """Held-out metrics of every SAE from one read, and its folder. Returns the rows of ``sae_metrics``."""
    held_out = source_of(study, site, "dictionary")
    measured = evaluate_all(list(found.values()), held_out.chunks(), training_device(study, site))
    rows = []
    for ((kind, member), sae), metrics in zip(found.items(), measured, strict=True):
        folder = member_folder(study, site, member)
        save_sae(folder / UNTRAINED if kind == UNTRAINED else folder, sae, sae_metadata(study, site, kind, member.seed))
        trained = kind != UNTRAINED
        row = metrics_row(site, kind, member, statistics, metrics)
        row |= {"steps": result.steps if trained else 0, "n_train_vectors": result.n_vectors if trained else 0}
        rows.append(row | {"stability": _stability(study, kind, member, sae, found)})
    return rows


def _stability(study: Study, kind: str, member: Member, sae: SAE, found: dict[tuple[str, Member], SAE]) -> float | None:
    """Of a further seed: how well its concept vectors match those of the first seed."""
    if kind != TRAINED or member.seed == study.config.seed:
        return None
    first = found[TRAINED, Member(member.k, member.n, study.config.seed)]
    return stability(first.concept_vectors(), sae.concept_vectors())


def metrics_row(site: Site, kind: str, member: Member, statistics: Statistics, metrics: Metrics) -> dict[str, Any]:
    """One row of ``sae_metrics``, without the columns that tell how it was trained."""
    return {
        **site_columns(site, member.k),
        "expansion": member.n // len(statistics.mean),
        "seed": member.seed,
        "kind": kind,
        "explained_variance": metrics.explained_variance,
        "fvu": metrics.fvu,
        "scaled_mse": metrics.scaled_mse,
        "l0": metrics.l0,
        "dead_fraction": metrics.dead_fraction,
        "density_histogram": metrics.density_histogram(),
        "n_vectors": metrics.n_vectors,
        "gamma": statistics.gamma,
        "stability": None,
    }


def _publish(study: Study, site: Site, k: int, rows: list[dict[str, Any]]) -> None:
    folder = sae_folder(study, site, k)
    files = [path for path in _files_below(folder) if path.relative_to(folder).parts[0] != SHARED]
    files.append(site_folder(study, site) / STATISTICS)
    publish(study, "train", unit_name(site, k), {"sae_metrics": rows}, files=files)


def _files_below(folder: Path) -> list[Path]:
    """What records vouch for in a folder of SAEs: weights, configurations and logs."""
    return [path for name in (WEIGHTS, CONFIG, LOG) for path in folder.rglob(name)]


def sae_metadata(study: Study, site: Site, kind: str, seed: int) -> dict[str, Any]:
    """What ``cfg.json`` says about where an SAE comes from."""
    block, t, conditioning = site
    return {
        "model_name": study.config.model.path.rstrip("/").rsplit("/", 1)[-1],
        "hook_name": f"{study.config.sites.blocks[block]}.residual_update",
        "block": block,
        "timestep": t,
        "conditioning": conditioning,
        "site": site_path(site),
        "kind": kind,
        "seed": seed,
    }


def train_shared(study: Study, block: str, conditioning: str, on_progress: Progress | None = None) -> dict[str, Any]:
    """Train one SAE per k on all times of a block together; save and measure it at each time."""
    sites: list[Site] = [(block, t, conditioning) for t in study.config.sites.times]
    sources = {site: training_source(study, site, len(sites)) for site in sites}
    statistics = {site: site_statistics(study, site, source) for site, source in sources.items()}
    members = shared_members(study, sources[sites[0]].d)
    places = shared_places(study, block, conditioning, members)
    data = Together([Conditioned(sources[site], statistics[site]) for site in sites])
    device = training_device(study, sites[0])
    result = train(data, study.config.sae, members, study.config.seed, places, on_progress, device)
    rows = []
    for site in sites:
        here = statistics[site]
        folded = {m: fold(copy.deepcopy(sae), here.mean, here.scale) for m, sae in result.saes.items()}
        held_out = source_of(study, site, "dictionary")
        measured = evaluate_all(list(folded.values()), held_out.chunks(), device)
        for (member, sae), metrics in zip(folded.items(), measured, strict=True):
            save_sae(sae_folder(study, site, member.k) / SHARED, sae, sae_metadata(study, site, SHARED, member.seed))
            row = metrics_row(site, SHARED, member, here, metrics)
            rows.append(row | {"steps": result.steps, "n_train_vectors": result.n_vectors})
    unit = series_name(block, conditioning)
    folders = [
        shared_folder(study, block, conditioning),
        *(sae_folder(study, site, m.k) / SHARED for site in sites for m in members),
    ]
    files = [path for folder in folders for path in _files_below(folder)]
    publish(study, "share", unit, {"sae_metrics": rows}, files=files)
    _discard(study, places)
    return {"steps": result.steps, "vectors_per_s": result.n_vectors / max(result.seconds, 1e-9)}
