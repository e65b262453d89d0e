"""Overcomplete: its TopK SAE, trained by its own loop.

    python benchmarks/peers/overcomplete.py --train train.npy --heldout heldout.npy --out result.json

Used of the package: ``TopKSAE``, ``train_sae`` (the whole loop: forward, loss, backward, clipping, optimiser) and
``top_k_auxiliary_loss``. It is called once for the warm-up batches and once, on the clock, for the others.

Importing ``overcomplete`` itself imports torchvision for its image models. Its SAEs do not need that, so only the
subpackage ``overcomplete.sae`` is run here, unchanged (see ``import_sae``).

Set-up:

    python3.11 -m venv overcomplete
    overcomplete/bin/pip install torch==2.13.0 einops numpy pillow scikit-learn scipy tqdm
    overcomplete/bin/pip install --no-deps overcomplete==0.3.0
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import Any

import torch
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


def main() -> None:
    """Command line of the script."""
    options = option_parser(__doc__).parse_args()
    prepare(options)
    package = import_sae()
    batches = training_batches(options)
    model = package.TopKSAE(batches.vectors_ND.shape[1], options.n, top_k=options.k, device=options.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    seconds = train_timed(lambda rest: train(package, model, optimizer, rest, options), batches, options)
    model.eval()
    measures = heldout_measures(lambda x_ND: reconstruct(model, x_ND), options)
    write_result(options, "overcomplete", seconds, measures, chosen_settings(options), fixed_settings())


def import_sae() -> ModuleType:
    """``overcomplete.sae``, without the package's ``__init__``, which imports torchvision."""
    spec = importlib.util.find_spec("overcomplete")
    if spec is None:
        raise SystemExit("overcomplete is not installed")
    sys.modules["overcomplete"] = importlib.util.module_from_spec(spec)
    return importlib.import_module("overcomplete.sae")


def train(
    package: ModuleType,
    model: Any,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[Tensor],
    options: argparse.Namespace,
) -> None:
    """One epoch of the package's loop over these batches, without its logs."""
    loop = package.train.train_sae_amp if options.autocast else package.train.train_sae
    criterion = partial(package.losses.top_k_auxiliary_loss, penalty=AUX_ALPHA)
    loop(model, batches, criterion, optimizer, nb_epochs=1, monitoring=0, device=options.device)


def reconstruct(model: Any, x_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Dense codes and reconstructions."""
    _, codes_NM = model.encode(x_ND)
    return codes_NM, model.decode(codes_NM)


def chosen_settings(options: argparse.Namespace) -> dict[str, Any]:
    """What was set, and the package's defaults that matter."""
    return {
        "optimizer": "torch.optim.Adam, betas 0.9 and 0.999",
        "lr_scheduler": "none",
        "aux_coefficient": AUX_ALPHA,
        "autocast": autocast_name(options),
        "gradient_clipping": "norm 1 (its default)",
        "decoder_norm": "1 (its default)",
        "encoder": "linear with bias, not tied at the start (its default)",
    }


def autocast_name(options: argparse.Namespace) -> str:
    """The type that ``train_sae_amp`` computes in: torch's default for the device."""
    if not options.autocast:
        return "off"
    return str(torch.get_autocast_dtype(options.device.split(":")[0])).removeprefix("torch.") + ", scaled gradients"


def fixed_settings() -> dict[str, Any]:
    """What the package does not let one set."""
    return {
        "decoder_bias": "none",
        "loss": "mean squared error over vectors and channels",
        "aux_latents": "half of all latents, of those that were not chosen, dead or not; from the first step on",
        "aux_residual": "not detached",
        "dead_after": "not known to its AuxK",
    }


if __name__ == "__main__":
    main()
