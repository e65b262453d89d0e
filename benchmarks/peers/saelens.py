"""SAELens: its TopK SAE, trained by its own trainer.

    python benchmarks/peers/saelens.py --train train.npy --heldout heldout.npy --out result.json

Used of the package: ``TopKTrainingSAE`` (with its loss and AuxK) and ``SAETrainer.step``, which does a whole training
step: forward, backward, clipping, Adam, counts of firing. Only the loop that hands it batches is ours.

Set-up:

    python3.11 -m venv saelens
    saelens/bin/pip install torch==2.13.0 sae-lens==6.54.12
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

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
    parser = option_parser(__doc__)
    parser.add_argument("--sparse", action="store_true", help="its sparse activations: float32, free decoder norm")
    options = parser.parse_args()
    prepare(options)
    batches = training_batches(options)
    trainer = build_trainer(batches, options)
    seconds = train_timed(lambda rest: train(trainer, rest), batches, options)
    dead = int(trainer.dead_neurons.sum())
    trainer.sae.eval()
    measures = heldout_measures(lambda x_ND: reconstruct(trainer.sae, x_ND), options)
    write_result(options, "sae-lens", seconds, measures, chosen_settings(trainer, options, dead), fixed_settings())


def build_trainer(batches: Batches, options: argparse.Namespace) -> Any:
    """The package's SAE in the package's trainer, with a constant rate and no logging."""
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    sae_config = TopKTrainingSAEConfig(
        d_in=batches.vectors_ND.shape[1],
        d_sae=options.n,
        k=options.k,
        aux_loss_coefficient=AUX_ALPHA,
        use_sparse_activations=options.sparse,
        rescale_acts_by_decoder_norm=not options.sparse,  # torch has no gradient for its sparse codes times the norms
        device=options.device,
        dtype="float32",
    )
    trainer_config = SAETrainerConfig(
        total_training_samples=(options.warmup + options.steps) * options.batch,
        train_batch_size_samples=options.batch,
        lr=options.lr,
        lr_end=options.lr,
        lr_scheduler_name="constant",
        device=options.device,
        autocast=options.autocast,
        dead_feature_window=max(options.dead_after // options.batch, 1),
        logger=LoggingConfig(log_to_wandb=False),
    )
    return SAETrainer(trainer_config, TopKTrainingSAE(sae_config), data_provider=iter(()))


def train(trainer: Any, batches: Iterator[Tensor]) -> None:
    """What ``SAETrainer.fit`` does for each batch, without logs and checkpoints."""
    for x_ND in batches:
        trainer.maybe_reset_sparsity()
        trainer.step(x_ND)
        trainer.n_training_steps += 1


def reconstruct(sae: Any, x_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Dense codes and reconstructions."""
    codes_NM = sae.encode(x_ND)
    return codes_NM.to_dense(), sae.decode(codes_NM)


def chosen_settings(trainer: Any, options: argparse.Namespace, dead: int) -> dict[str, Any]:
    """What was set, and the package's defaults that matter."""
    return {
        "optimizer": "torch.optim.Adam, betas 0.9 and 0.999",
        "lr_scheduler": "constant",
        "aux_coefficient": AUX_ALPHA,
        "dead_after": f"{trainer.cfg.dead_feature_window} steps",
        "dead_latents_at_the_end": dead,
        "autocast": "bfloat16" if options.autocast else "off",
        "use_sparse_activations": options.sparse,
        "rescale_acts_by_decoder_norm": trainer.sae.cfg.rescale_acts_by_decoder_norm,
        "decoder_init_norm": trainer.sae.cfg.decoder_init_norm,
    }


def fixed_settings() -> dict[str, Any]:
    """What the package does not let one set."""
    return {
        "gradient_clipping": "norm 1",
        "loss": "squared error summed over channels, not divided by the variance",
        "aux_latents": "half the channels; their pre-activations, negative ones too; loss not divided by the residual",
        "decoder_norm": "free",
    }


if __name__ == "__main__":
    main()
