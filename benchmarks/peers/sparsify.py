"""EleutherAI's sparsify: its sparse coder, trained as its trainer does.

    python benchmarks/peers/sparsify.py --train train.npy --heldout heldout.npy --out result.json

Used of the package: ``SparseCoder`` with its fused encoder, sparse decoder, loss, AuxK, decoder norm and gradient
projection, and ``TrainConfig``. Its ``Trainer`` has no step function: the step is the body of ``Trainer.fit``, bound
to a language model's hooks. ``train_step`` calls the same methods in the same order for one hookpoint.

Set-up:

    python3.11 -m venv sparsify
    sparsify/bin/pip install torch==2.13.0 eai-sparsify==1.3.3
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from common import (
    AUX_ALPHA,
    Batches,
    heldout_measures,
    option_parser,
    prepare,
    train_timed,
    training_batches,
    write_result,
)
from torch import Tensor


@dataclass
class Training:
    """A sparse coder under training and what ``Trainer.fit`` keeps besides it."""

    coder: Any
    config: Any
    optimizer: torch.optim.Optimizer
    since_fired_M: Tensor
    did_fire_M: Tensor
    step: int = 0

    @property
    def dead(self) -> Tensor:
        """Latents that have not fired for longer than the threshold."""
        return self.since_fired_M > self.config.dead_feature_threshold


def main() -> None:
    """Command line of the script."""
    options = option_parser(__doc__).parse_args()
    prepare(options)
    batches = training_batches(options)
    training = build_training(batches, options)
    seconds = train_timed(lambda rest: train(training, rest), batches, options)
    measures = heldout_measures(lambda x_ND: reconstruct(training.coder, x_ND), options)
    write_result(options, "eai-sparsify", seconds, measures, chosen_settings(training), fixed_settings(options))


def build_training(batches: Batches, options: argparse.Namespace) -> Training:
    """The package's sparse coder and configuration, with Adam."""
    if options.device == "cpu":
        os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # its kernels need a GPU, and it asks only whether Triton is there
    from sparsify import SparseCoder, SparseCoderConfig, TrainConfig

    config = TrainConfig(
        sae=SparseCoderConfig(num_latents=options.n, k=options.k),
        optimizer="adam",
        lr=options.lr,
        auxk_alpha=AUX_ALPHA,
        dead_feature_threshold=options.dead_after,
    )
    torch.set_float32_matmul_precision("high")  # as Trainer.fit
    coder = SparseCoder(batches.vectors_ND.shape[1], config.sae, options.device, dtype=torch.float32)
    return Training(
        coder=coder,
        config=config,
        optimizer=torch.optim.Adam([{"params": coder.parameters(), "lr": config.lr}]),
        since_fired_M=torch.zeros(coder.num_latents, device=options.device, dtype=torch.long),
        did_fire_M=torch.zeros(coder.num_latents, device=options.device, dtype=torch.bool),
    )


def train(training: Training, batches: Iterator[Tensor]) -> None:
    """One step for each batch."""
    for x_ND in batches:
        train_step(training, x_ND)


def train_step(training: Training, x_ND: Tensor) -> None:
    """The body of ``Trainer.fit`` for one hookpoint: loss "fvu", no accumulation, one process."""
    coder, config = training.coder, training.config
    if training.step == 0:
        coder.b_dec.data = x_ND.mean(0).to(coder.dtype)
    coder.set_decoder_norm_to_unit_norm()
    total_variance = (x_ND - x_ND.mean(0)).pow(2).sum()
    out = coder(x=x_ND, y=x_ND, dead_mask=training.dead, total_variance=total_variance)
    training.did_fire_M[out.latent_indices.flatten()] = True
    loss = out.fvu + config.auxk_alpha * out.auxk_loss + out.multi_topk_fvu / 8
    loss.backward()
    coder.remove_gradient_parallel_to_decoder_directions()
    training.optimizer.step()
    training.optimizer.zero_grad()
    training.since_fired_M += len(x_ND)
    training.since_fired_M[training.did_fire_M] = 0
    training.did_fire_M.zero_()
    training.step += 1


def reconstruct(coder: Any, x_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Dense codes and reconstructions."""
    encoded = coder.encode(x_ND)
    codes_NM = torch.zeros_like(encoded.pre_acts).scatter_(1, encoded.top_indices, encoded.top_acts)
    return codes_NM, coder.decode(encoded.top_acts, encoded.top_indices)


def chosen_settings(training: Training) -> dict[str, Any]:
    """What was set."""
    return {
        "optimizer": "torch.optim.Adam, betas 0.9 and 0.999",
        "lr_scheduler": "none; its Trainer warms up and decays linearly, which cannot be turned off there",
        "aux_coefficient": training.config.auxk_alpha,
        "dead_after": f"{training.config.dead_feature_threshold} vectors",
        "dead_latents_at_the_end": int(training.dead.sum()),
        "normalize_decoder": training.config.sae.normalize_decoder,
    }


def fixed_settings(options: argparse.Namespace) -> dict[str, Any]:
    """What the package does not let one set."""
    from sparsify.utils import decoder_impl

    on_gpu = options.device.startswith("cuda")
    return {
        "autocast": "bfloat16 in every forward pass" if on_gpu else "none on a CPU: its forward pass names cuda only",
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "decoder": decoder_impl.__name__,
        "gradient_clipping": "none",
        "loss": "squared error divided by the batch's variance",
        "aux_latents": "half the channels; loss divided by the batch's variance; no gradient to the encoder",
    }


if __name__ == "__main__":
    main()
