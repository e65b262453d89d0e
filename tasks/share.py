"""Training on all times of a block together: one SAE a (block, conditioning, k), so that a CID is one direction at all.

With ``sae.seeds`` further initialisations of it, too: what two of them agree in is what it knows of its concepts.

It is folded with each time's own mean and scale, and then serves each site like the dictionary of that time alone.
"""

from __future__ import annotations

import copy
from typing import Any

from sae.checkpoint import RunPaths
from sae.io import save_sae
from sae.members import Member, fold, shared_members
from sae.metrics import evaluate_all
from sae.source import EqualShares, Standardised, Statistics
from sae.train import Progress, Trained, train
from study.at import AtSite
from study.cautions import learning_cautions
from study.paths import of_seed, series_name, shared_folder, time_series
from study.publish import lacking, publish
from study.saes import SHARED
from study.study import Study
from tasks import train as alone
from tasks.artifacts import train_artifacts
from tasks.learning import curve_rows, held_out_sample, learning_columns
from tasks.refresh import drop_outdated, start_of, trained_on
from tasks.train import (
    discard,
    files_below,
    metrics_row,
    sae_metadata,
    site_statistics,
    source_of,
    stability_to_first,
)


def train_shared(study: Study, block: str, conditioning: str, on_progress: Progress | None = None) -> dict[str, Any]:
    """Train one SAE per k on all times of a block together; save and measure it at each time."""
    sites = [study.at((block, t, conditioning)) for t in study.config.sites.times]
    sources = [alone.training_source(here, len(sites)) for here in sites]
    statistics = [site_statistics(here, source) for here, source in zip(sites, sources, strict=True)]
    members = shared_members(study.config.sae, sites[0].channels, study.config.seed)
    paths = shared_paths(study, block, conditioning, members)
    data = EqualShares([Standardised(*pair) for pair in zip(sources, statistics, strict=True)])
    known = list(zip(sites, statistics, strict=True))
    samples = [held_out_sample(here, scaled) for here, scaled in known]
    seed, device = study.config.seed, sites[0].device
    drop_outdated(study, paths, data.digest())
    folders = {m: study.at(sites[0].site, m.k).folder_of(SHARED, m.seed) for m in members}
    start = start_of(study, "share", [series_name(block, conditioning)], folders, statistics[0])
    result = train(data, study.config.sae, members, seed, paths, on_progress, device, samples, start)
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    for number, (here, scaled) in enumerate(known):
        rows += _save_and_measure(here, result, scaled, device, number)
        curves += curve_rows(result, here.site, SHARED, number)
    _publish(study, block, conditioning, {"sae_metrics": rows, "sae_curves": curves})
    discard(study, paths)
    return {
        "steps": result.steps,
        "vectors_per_s": result.n_vectors / max(result.seconds, 1e-9),
        "cautions": learning_cautions(rows, curves, study.config),
    }


def _save_and_measure(
    here: AtSite, result: Trained, statistics: Statistics, device: str, number: int
) -> list[dict[str, Any]]:
    """The SAEs as they are at time ``number``: folded, saved, and held-out rows of ``sae_metrics``."""
    folded = {m: fold(copy.deepcopy(sae), statistics.mean, statistics.scale) for m, sae in result.saes.items()}
    measured = evaluate_all(list(folded.values()), source_of(here, "dictionary").chunks(), device)
    rows = []
    for (member, sae), metrics in zip(folded.items(), measured, strict=True):
        folder = here.study.at(here.site, member.k).folder_of(SHARED, member.seed)
        save_sae(folder, sae, sae_metadata(here, SHARED, member.seed))
        row = metrics_row(here.site, SHARED, member, statistics, metrics)
        row |= {"steps": result.steps, "n_train_vectors": result.n_vectors}
        row |= learning_columns(result, member, number)
        rows.append(row | {"stability": stability_to_first(here.study, member, sae, folded)})
    return rows


def _publish(study: Study, block: str, conditioning: str, tables: dict[str, list[dict[str, Any]]]) -> None:
    dictionaries = [study.at((block, t, conditioning), k) for t in study.config.sites.times for k in study.config.sae.k]
    folders = [shared_folder(study, block, conditioning), *(here.folder_of(SHARED) for here in dictionaries)]
    files = [path for folder in folders for path in files_below(folder)]
    publish(study, "share", series_name(block, conditioning), tables, trained_on(study, "share"), files)


def shared_paths(study: Study, block: str, conditioning: str, members: list[Member]) -> RunPaths:
    """Where the checkpoint of the SAEs of all times lies."""
    home = shared_folder(study, block, conditioning)
    return RunPaths(home / "checkpoint.json", {m: of_seed(study, home / f"k{m.k}", m.seed) for m in members})


def end(study: Study) -> dict[str, Any]:
    """What ends training: remove the checkpoints that a kill left of published SAEs, and show the metrics."""
    alone.sweep_checkpoints(study)
    sweep_checkpoints(study)
    train_artifacts(study)
    return {}


def sweep_checkpoints(study: Study) -> None:
    """Remove the checkpoints of published SAEs of all times: a kill may have come before they were removed."""
    for block, conditioning in time_series(study) if study.config.sae.across_time else ():
        if not lacking(study, "share", [series_name(block, conditioning)]):
            channels = study.at((block, study.config.sites.times[0], conditioning)).channels
            members = shared_members(study.config.sae, channels, study.config.seed)
            discard(study, shared_paths(study, block, conditioning, members))
