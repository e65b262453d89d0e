"""How the SAEs of a training run learned, as the tables tell it: held-out sample in, rows of the curves out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sae.curve import CurveRow
from sae.members import Member
from sae.metrics import partner_cosines
from sae.model import SAE
from sae.points import LATE, gain
from sae.source import Statistics
from sae.start import cosines_to_start
from sae.train import Trained
from storage.site import Site
from study.at import AtSite, Dictionary
from study.saes import TRAINED, UNTRAINED
from tasks.samples import drawn_vectors

PER_LATENT, SAMPLE = 8, 8192  # held-out vectors of a curve: 8 for each latent, so that each can fire; at most 8192
AS_DRAWN = {"init_cosine": 1.0, "init_nearest": 1.0, "late_gain": None}  # of an SAE without a step of training


def held_out_sample(here: AtSite, statistics: Statistics) -> Tensor:
    """Standardised vectors of the dictionary split for the curves of a site's SAEs, float32 [N, D]."""
    latents = here.study.config.sae.expansion[0] * here.channels
    drawn = torch.from_numpy(drawn_vectors(here, "dictionary", min(PER_LATENT * latents, SAMPLE), as_trained=True))
    return (drawn - statistics.mean) * statistics.scale


def learning_columns(result: Trained, member: Member, sample: int = 0) -> dict[str, Any]:
    """What ``sae_metrics`` says of how an SAE learned: where its curve ends, and what its last fifth gained."""
    rows = _of_sample(result.logs.curves[member], sample)
    end = {name: rows[-1][name] for name in ("init_cosine", "init_nearest")}
    return {**end, "late_gain": gain(rows, result.steps, *LATE)}


def curve_rows(result: Trained, site: Site, kind: str | None = None, sample: int = 0) -> Iterator[dict[str, Any]]:
    """The rows of ``sae_curves`` of every member of a run on one of its samples; of their own ``kind`` unless given."""
    for member, rows in result.logs.curves.items():
        width = len(result.saes[member].b_dec)
        named = {"k": member.k, "expansion": member.n // width, "seed": member.seed, "kind": kind or member.kind}
        for row in _of_sample(rows, sample):
            vectors = row["step"] * (result.n_vectors // result.steps)
            yield {**site.columns, **named, **row, "vectors": vectors}


def _of_sample(rows: list[CurveRow], sample: int) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "sample"} for row in rows if row["sample"] == sample]


def concept_origins(here: Dictionary, sae: SAE) -> dict[str, Any]:
    """Columns of ``concepts``: each one's cosine to its start, and the mean of those to its partners in other seeds."""
    config, vectors_MD = here.study.config, sae.concept_vectors()
    seeds = range(config.seed + 1, config.seed + config.sae.seeds)
    partners = [partner_cosines(vectors_MD, here.sae(TRAINED, seed).concept_vectors()) for seed in seeds]
    return {
        "init_cosine": cosines_to_start(vectors_MD, here.sae(UNTRAINED).concept_vectors()).cpu().numpy(),
        "stability": np.mean(partners, axis=0) if partners else [None] * sae.n,
    }
