"""Training: every SAE of a site from one read of its activations, with metrics and controls.

A site's members are its dictionaries (one a k), further widths and seeds, and the controls that train with a part held
at its start; they are trained stacked. The untrained control needs no step.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sae.checkpoint import LOG, RunPaths, remove_checkpoint
from sae.folder import CONFIG, WEIGHTS
from sae.io import save_sae
from sae.members import Member, fold, members_of, untrained
from sae.metrics import Metrics, evaluate_all, stability
from sae.model import SAE
from sae.source import Standardised, Statistics, load_statistics, measure, save_statistics
from sae.train import Progress, Trained, train
from storage.site import Site
from storage.vectors import VectorSource
from study.at import AtSite, Dictionary
from study.cautions import learning_cautions
from study.paths import split_ranges, unit_name
from study.publish import lacking, publish
from study.saes import SHARED, TRAINED, UNTRAINED
from study.study import Study
from tasks.learning import AS_DRAWN, curve_rows, held_out_sample, learning_columns
from tasks.refresh import drop_outdated, start_of, trained_on

STATISTICS = "statistics.safetensors"


def source_of(here: AtSite, split: str, buffer_bytes: int | None = 0) -> VectorSource:
    """Every spatial position of a split at a site, as vectors [n, d]; without a buffer, to be read once in order.

    Of a growing study, what the split had when SAEs were refreshed last.
    """
    return VectorSource(here.store, here.site, split_ranges(here.study, split, True), buffer_bytes=buffer_bytes)


def training_source(here: AtSite, sharing: int = 1) -> VectorSource:
    """The vectors of the train split, in a buffer of ``sae.buffer_gb`` or, where several are read at once, a share."""
    size = here.study.config.sae.buffer_gb
    return source_of(here, "train", None if size is None else int(size * 1e9) // sharing)


def site_statistics(here: AtSite, source: VectorSource) -> Statistics:
    """Mean and scale of a site's training vectors: measured in one pass, then kept with its SAEs."""
    path = here.folder / STATISTICS
    known = load_statistics(path)
    if known is None or known.n_vectors != source.n_vectors:
        known = measure(source)
        save_statistics(path, known)
    return known


def train_site(study: Study, site: Site, on_progress: Progress | None = None) -> dict[str, Any]:
    """Train, evaluate on the dictionary split and save every SAE of a site. Returns counts and cautions for the log.

    A kill in mid-training resumes from the site's checkpoint, bit-identical to an undisturbed run.
    """
    here = study.at(site)
    source = training_source(here)
    statistics = site_statistics(here, source)
    members = members_of(study.config.sae, source.d, study.config.seed)
    paths = site_paths(here, members)
    data, seed = Standardised(source, statistics), study.config.seed
    sample = held_out_sample(here, statistics)
    drop_outdated(study, paths, data.digest())
    units = [unit_name(site, k) for k in study.config.sae.k]
    start = start_of(study, "train", units, {m: here.member_folder(m) for m in members}, statistics)
    result = train(data, study.config.sae, members, seed, paths, on_progress, here.device, [sample], start)
    saes = {(member.kind, member): sae for member, sae in result.saes.items()}
    saes |= {(UNTRAINED, m): untrained(source.d, m) for m in dictionaries(study, members)}
    for sae in saes.values():
        fold(sae, statistics.mean, statistics.scale)
    rows = _save_and_measure(here, saes, result, statistics)
    curves = list(curve_rows(result, here.site))
    for k in study.config.sae.k:
        of_k = [[row for row in table if row["k"] == k] for table in (rows, curves)]
        _publish(
            study.at(site, k), of_k[0], of_k[1], {"seconds_each": result.seconds_each, **trained_on(study, "train")}
        )
    discard(study, paths)
    return {
        "steps": result.steps,
        "vectors_per_s": result.n_vectors / max(result.seconds, 1e-9),
        "waited_for_loader": result.waited,
        "cautions": [*statistics.cautions(here.site.path), *learning_cautions(rows, curves, study.config)],
    }


def site_paths(here: AtSite, members: list[Member]) -> RunPaths:
    """Where a site's checkpoint lies."""
    return RunPaths(here.folder / "checkpoint.json", {member: here.member_folder(member) for member in members})


def discard(study: Study, paths: RunPaths) -> None:
    """A checkpoint has three times the bytes of the SAEs that were published from it, and nothing goes on from it."""
    if not study.config.run.keep_checkpoints:
        remove_checkpoint(paths)


def sweep_checkpoints(study: Study) -> None:
    """Remove the checkpoints of SAEs that are published: a kill may have come before they were removed."""
    settings = study.config.sae
    for here in map(study.at, study.config.sites_list()):
        if not lacking(study, "train", [unit_name(here.site, k) for k in settings.k]):
            discard(study, site_paths(here, members_of(settings, here.channels, study.config.seed)))


def dictionaries(study: Study, members: list[Member]) -> list[Member]:
    """The members that later stages use: first width, first seed, trained."""
    width = members[0].n  # members_of lists the dictionaries first
    return [m for m in members if (m.n, m.seed, m.kind) == (width, study.config.seed, TRAINED)]


def _save_and_measure(
    here: AtSite, saes: dict[tuple[str, Member], SAE], result: Trained, statistics: Statistics
) -> list[dict[str, Any]]:
    """Held-out metrics of every SAE from one read, and its folder. Returns the rows of ``sae_metrics``."""
    measured = evaluate_all(list(saes.values()), source_of(here, "dictionary").chunks(), here.device)
    rows = []
    for ((kind, member), sae), metrics in zip(saes.items(), measured, strict=True):
        folder = here.member_folder(member)
        save_sae(folder / UNTRAINED if kind == UNTRAINED else folder, sae, sae_metadata(here, kind, member.seed))
        trained = kind != UNTRAINED
        row = metrics_row(here.site, kind, member, statistics, metrics)
        row |= {"steps": result.steps if trained else 0, "n_train_vectors": result.n_vectors if trained else 0}
        row |= learning_columns(result, member) if trained else AS_DRAWN
        rows.append(row | {"stability": stability_to_first(here.study, member, sae, result.saes)})
    return rows


def stability_to_first(study: Study, member: Member, sae: SAE, saes: dict[Member, SAE]) -> float | None:
    """Of a further seed, how well its concept vectors match those of the first; None for the first and for controls."""
    if member.seed == study.config.seed:  # which controls have, too
        return None
    first = saes[replace(member, seed=study.config.seed)]
    return stability(first.concept_vectors(), sae.concept_vectors())


def metrics_row(site: Site, kind: str, member: Member, statistics: Statistics, metrics: Metrics) -> dict[str, Any]:
    """One row of ``sae_metrics``, without the columns that tell how it was trained."""
    return {
        **site.columns,
        "k": member.k,
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


def _publish(here: Dictionary, rows: list[dict[str, Any]], curves: list[dict[str, Any]], extra: dict[str, Any]) -> None:
    folder = here.folder_of(TRAINED)
    files = [path for path in files_below(folder) if path.relative_to(folder).parts[0] != SHARED]
    tables = {"sae_metrics": rows, "sae_curves": curves}
    publish(here.study, "train", here.name, tables, extra, [*files, here.folder / STATISTICS])


def files_below(folder: Path) -> list[Path]:
    """What records vouch for in a folder of SAEs: weights, configurations and logs."""
    return [path for name in (WEIGHTS, CONFIG, LOG) for path in folder.rglob(name)]


def sae_metadata(here: AtSite, kind: str, seed: int) -> dict[str, Any]:
    """What ``cfg.json`` says about where an SAE comes from."""
    config, site = here.study.config, here.site
    return {
        "model_name": config.model.path.rstrip("/").rsplit("/", 1)[-1],
        "hook_name": f"{config.sites.blocks[site.block]}.residual_update",
        "block": site.block,
        "timestep": site.t,
        "conditioning": site.conditioning,
        "site": site.path,
        "kind": kind,
        "seed": seed,
    }
