"""This project's trainer, run as the peers are.

    python benchmarks/peers/concept_atlas.py --train train.npy --heldout heldout.npy --out result.json

Used: ``sae.step.train_step`` on one SAE, in float32, or with ``--autocast`` in bfloat16 (``sae.precision``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import (
    AUX_ALPHA,
    heldout_measures,
    option_parser,
    prepare,
    train_timed,
    training_batches,
    write_result,
)
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from sae.members import Member, Stack
from sae.memory import freed_memory_kept
from sae.settings import SAESettings
from sae.step import TrainState, train_step


def main() -> None:
    """Command line of the script."""
    options = option_parser(__doc__).parse_args()
    prepare(options)
    settings = settings_of(options)
    batches = training_batches(options)
    stack = Stack(batches.vectors_ND.shape[1], [Member(options.k, options.n, options.seed)], options.device)
    state = TrainState(stack, settings)

    def train(rest: Iterator[Tensor]) -> None:
        for x_ND in rest:
            train_step(state, x_ND, settings, options.lr)

    with freed_memory_kept():
        seconds = train_timed(train, batches, options)
    sae = stack.member(0).to(options.device)

    def reconstruct(x_ND: Tensor) -> tuple[Tensor, Tensor]:
        values, latents = sae.encode(x_ND)
        codes = torch.zeros(len(x_ND), sae.n, device=x_ND.device).scatter(1, latents, values)
        return codes, sae.decode(values, latents)

    measures = heldout_measures(reconstruct, options)
    write_result(options, "concept-atlas", seconds, measures, chosen(settings), {})


def settings_of(options: argparse.Namespace) -> SAESettings:
    """The options as our settings."""
    return SAESettings(
        k=(options.k,),
        batch_size=options.batch,
        lr=options.lr,
        aux_alpha=AUX_ALPHA,
        dead_after_vectors=options.dead_after,
        precision="bfloat16" if options.autocast else "float32",
    )


def chosen(settings: SAESettings) -> dict[str, Any]:
    """What was set."""
    return {"optimizer": "Adam, fused", "precision": settings.precision, "aux_coefficient": settings.aux_alpha}


if __name__ == "__main__":
    main()
