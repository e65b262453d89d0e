r"""dictionary_learning: its TopK autoencoder, trained by its own trainer.

    python benchmarks/peers/dictionary_learning.py --train train.npy --heldout heldout.npy --out result.json

Used of the package: ``TopKTrainer.update`` (trainers/top_k.py), which does a whole training step: forward, AuxK,
backward, gradient projection, clipping, Adam, schedule, decoder norm. Only the loop that hands it batches is ours, as
in its ``trainSAE``.

Set-up (importing the package imports nnsight; both name dependencies that are not needed here, torchvision among them):

    python3.11 -m venv dictionary_learning
    dictionary_learning/bin/pip install torch==2.13.0 transformers==5.24.0 accelerate einops pillow pydantic \
        "python-socketio[client]" pyyaml requests tqdm
    dictionary_learning/bin/pip install --no-deps nnsight==0.3.7 dictionary-learning==0.1.0
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
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


def main() -> None:
    """Command line of the script."""
    options = option_parser(__doc__).parse_args()
    prepare(options)
    batches = training_batches(options)
    trainer = build_trainer(batches, options)
    steps = iter(range(options.warmup + options.steps))
    seconds = train_timed(lambda rest: train(trainer, steps, rest, options), batches, options)
    measures = heldout_measures(lambda x_ND: reconstruct(trainer.ae, x_ND), options)
    write_result(options, "dictionary-learning", seconds, measures, chosen_settings(trainer), fixed_settings(options))


def build_trainer(batches: Batches, options: argparse.Namespace) -> Any:
    """The package's trainer, without warm-up or decay of the rate."""
    from dictionary_learning.trainers.top_k import TopKTrainer

    trainer = TopKTrainer(
        steps=options.warmup + options.steps,
        activation_dim=batches.vectors_ND.shape[1],
        dict_size=options.n,
        k=options.k,
        layer=0,
        lm_name="none",
        lr=options.lr,
        auxk_alpha=AUX_ALPHA,
        warmup_steps=0,
        decay_start=None,
        seed=options.seed,
        device=options.device,
    )
    trainer.dead_feature_threshold = options.dead_after
    return trainer


def train(trainer: Any, steps: Iterator[int], batches: Iterator[Tensor], options: argparse.Namespace) -> None:
    """One update for each batch."""
    for x_ND in batches:
        with autocast(options):
            trainer.update(next(steps), x_ND)


def autocast(options: argparse.Namespace) -> AbstractContextManager[Any]:
    """The context of its ``trainSAE``: none on a CPU, whatever is asked for."""
    if options.autocast and options.device.startswith("cuda"):
        return torch.autocast(device_type="cuda", dtype=torch.bfloat16)
    return nullcontext()


def reconstruct(autoencoder: Any, x_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Dense codes and reconstructions."""
    codes_NM = autoencoder.encode(x_ND)
    return codes_NM, autoencoder.decode(codes_NM)


def chosen_settings(trainer: Any) -> dict[str, Any]:
    """What was set."""
    return {
        "optimizer": "torch.optim.Adam, betas 0.9 and 0.999",
        "lr_scheduler": "constant (warmup_steps 0, no decay)",
        "aux_coefficient": trainer.auxk_alpha,
        "dead_after": f"{trainer.dead_feature_threshold} vectors (an attribute, not an argument)",
        "dead_latents_at_the_end": trainer.dead_features,
    }


def fixed_settings(options: argparse.Namespace) -> dict[str, Any]:
    """What the package does not let one set."""
    on_gpu = options.device.startswith("cuda")
    return {
        "autocast": ("bfloat16" if options.autocast else "off") if on_gpu else "none on a CPU",
        "gradient_clipping": "norm 1",
        "loss": "squared error summed over channels, not divided by the variance",
        "aux_latents": "half the channels; loss divided by the residual's variance, the reconstruction's is not",
        "decoder_bias": "geometric median of the first batch",
    }


if __name__ == "__main__":
    main()
