"""Sparse sums of known directions: data whose dictionary is known."""

import numpy as np
import torch

from sae.source import Standardised, measure
from sae.train import train


class Synthetic:
    """``n`` vectors of width ``d``: three of 2d unit directions each, plus an offset and a little noise."""

    def __init__(self, d: int, n: int, seed: int) -> None:
        self.dictionary = torch.nn.functional.normalize(
            torch.randn(2 * d, d, generator=torch.Generator().manual_seed(123)), dim=1
        )
        generator = torch.Generator().manual_seed(seed)
        codes = torch.zeros(n, 2 * d)
        chosen = torch.rand(n, 2 * d, generator=generator).topk(3, dim=1).indices
        codes.scatter_(1, chosen, 1 + torch.rand(n, 3, generator=generator))
        self.x = codes @ self.dictionary + 0.5 + 0.02 * torch.randn(n, d, generator=generator)
        self.n_vectors, self.d = n, d

    def chunks(self):
        for start in range(0, self.n_vectors, 100):
            yield self.x[start : start + 100].numpy()

    def batches(self, batch_size, seed, epoch, skip=0):
        order = np.random.default_rng((seed, epoch)).permutation(self.n_vectors)
        for i in range(skip, self.n_vectors // batch_size):
            yield self.x[order[i * batch_size : (i + 1) * batch_size]].numpy()


def standardised(source):
    """The source with its own statistics."""
    return Standardised(source, measure(source))


def train_on(source, settings, members, seed=0, paths=None, **more):
    """``train`` on the standardised source."""
    return train(standardised(source), settings, members, seed, paths, **more)
