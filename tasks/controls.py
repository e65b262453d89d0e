"""The controls of labelling: what would pass for labelled concepts without a trained dictionary.

Each is an SAE of the trained one's sparsity, so that everything after encoding is one code path:

``untrained``         the SAE as it is drawn, before a step of training
``frozen``            trained with its decoder held at random directions (if ``sae.frozen_control`` keeps one)
``soft_frozen``       trained with each concept vector held near its start (if ``sae.controls`` names it)
``frozen_encoder``    trained with its encoder held as it was drawn (likewise)
``shuffled_decoder``  the trained concept vectors, each with its entries shuffled over the channels, as a tied encoder
``neurons``           the block's channels, both signs
``pca``               principal directions of the training vectors, both signs

One more, ``shuffled_positions``, keeps the trained codes and moves the masks' cells (``concepts.overlap_pass``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sae.baselines import NEURONS, PCA, SHUFFLED_DECODER, both_poles, principal_directions, shuffled_decoder
from sae.model import SAE
from study.at import Dictionary
from study.saes import HELD, UNTRAINED
from tasks.fits import OncePerSite


def _classical(x_ND: np.ndarray) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(x_ND.mean(0)), principal_directions(x_ND)


classical_fit = OncePerSite(_classical)  # mean [D] and principal directions [D, D], one pair for all k of a site


def control_encoders(here: Dictionary, sae: SAE) -> Iterator[tuple[str, SAE]]:
    """Every control of one trained SAE by name, each made when it is asked for."""
    for kind in (UNTRAINED, *HELD):
        if here.has(kind):
            yield kind, here.sae(kind)
    yield SHUFFLED_DECODER, shuffled_decoder(sae, here.k, here.study.config.seed)
    mean_D, principal_DD = classical_fit(here)
    origin = Path(here.site.path)
    yield NEURONS, both_poles(origin, torch.eye(len(mean_D)), mean_D, here.k)
    yield PCA, both_poles(origin, principal_DD, mean_D, here.k)
