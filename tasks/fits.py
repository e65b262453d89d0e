"""What is fitted once for a site in a process, however many of its dictionaries and edits ask for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np

from study.at import AtSite
from tasks.samples import drawn_vectors

FIT_VECTORS = 30_000  # a mean, a covariance and principal directions do not gain from more
FITS_KEPT = 16  # sites whose fit a process remembers, 6.6 MB each at the paper's width

Fit = TypeVar("Fit")


class OncePerSite(Generic[Fit]):
    """A fit to a site's training vectors that is kept for whoever asks next; of many sites, the latest ones."""

    def __init__(self, fit: Callable[[np.ndarray], Fit]) -> None:
        """``fit`` is given float32 [N, D], as ``fit_vectors`` draws them."""
        self._fit, self._lock, self._kept = fit, threading.Lock(), dict[tuple[Any, ...], Fit]()

    def __call__(self, here: AtSite) -> Fit:
        """The fit of a site to the train split that its SAEs are of, made if it is not known."""
        key = (here.study.root, here.study.hash_of("train"), here.study.config.seed, here.site)
        with self._lock:
            if key not in self._kept:
                if len(self._kept) >= FITS_KEPT:
                    del self._kept[next(iter(self._kept))]
                self._kept[key] = self._fit(fit_vectors(here))
            return self._kept[key]

    def forget(self) -> None:
        """Drop every fit, as a new process would."""
        self._kept.clear()


def fit_vectors(here: AtSite) -> np.ndarray:
    """float32 [N, D] of the site's ``train`` split, N at most ``FIT_VECTORS``."""
    return drawn_vectors(here, "train", FIT_VECTORS)
