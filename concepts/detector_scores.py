"""What the bench reports of a dictionary: its detectors of known labels, chosen on even images, scored on odd ones.

A feature is held against a label twice: by image (its largest activation in the image) and by cell of the grid.
Shape suffixes: I images, P cells of an image, N rows, D channels, C features, L labels, J thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from concepts.baselines import Encode, fit_probe
from concepts.feature_detectors import (
    CELL_LEVELS,
    IMAGE_LEVELS,
    Estimate,
    absorption,
    candidate_thresholds,
    choose_detectors,
    count_hits,
    estimates,
    f1_score,
    fires_on,
    image_sums,
    splitting,
)
from concepts.intervals import resampling

SAMPLES = 1000  # of the bootstrap
IMAGES_AT_ONCE = 100
FIT_ROWS = 30_000  # that thresholds are quantiles of, and probes are fitted to
MEAN = "*"
IMAGE, CELL = "image", "cell"
OBJECT, PARENT = "object", "parent"  # kinds of labels, of which a parent may absorb objects
Key = tuple[str, str]  # (kind, label)


@dataclass(frozen=True)
class Target:
    """What a site's features are held against: labels, presence bool [I, L] and cells bool [I, P, L]."""

    keys: list[Key]
    present_IL: np.ndarray
    cells_IPL: np.ndarray


def probe_of(x_IPD: np.ndarray, target: Target, seed: int) -> Encode:
    """The probe of every label, fitted to cells of the even images."""
    x_ND = x_IPD[::2].reshape(-1, x_IPD.shape[-1])
    at = drawn_rows(len(x_ND), seed)
    truth_NL = target.cells_IPL[::2].reshape(-1, len(target.keys))
    return fit_probe(x_ND[at].astype(np.float32), truth_NL[at])


def drawn_rows(rows: int, seed: int) -> np.ndarray:
    """int64: ``FIT_ROWS`` of so many rows, each once, in random order; all of them where there are fewer."""
    return np.random.default_rng(seed).permutation(rows)[:FIT_ROWS]


def score_method(encode: Encode, x_IPD: np.ndarray, target: Target, seed: int) -> list[dict[str, Any]]:
    """Rows of one method: by images, then by cells."""
    peaks, cells = _encode_all(encode, x_IPD)
    of_images = _Scope(IMAGE, peaks[:, None], target.present_IL[:, None], target.keys, seed)
    of_cells = _Scope(CELL, cells, target.cells_IPL, target.keys, seed)
    return of_images.rows() + of_cells.rows()


def _encode_all(encode: Encode, x_IPD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Peaks float32 [I, C] and features float16 [I, P, C] of all images, some at a time."""
    cells = []
    for i in range(0, len(x_IPD), IMAGES_AT_ONCE):
        block = x_IPD[i : i + IMAGES_AT_ONCE]
        z = encode(np.ascontiguousarray(block.reshape(-1, block.shape[-1]), np.float32))
        cells.append(z.reshape(*block.shape[:2], -1).astype(np.float16))
    z_IPC = np.concatenate(cells)
    return z_IPC.max(1).astype(np.float32), z_IPC


class _Scope:
    """Features [I, rows of an image, C] against truth bool [I, rows, L], chosen on even images, scored on odd ones."""

    def __init__(self, name: str, z_IPC: np.ndarray, truth_IPL: np.ndarray, keys: list[Key], seed: int) -> None:
        self.name, self.keys, self.seed, self.per_image = name, keys, seed, z_IPC.shape[1]
        self.z, self.truth = z_IPC, truth_IPL
        self.cut_JC = candidate_thresholds(self._some_rows(), IMAGE_LEVELS if name == IMAGE else CELL_LEVELS)
        hits, fires = self._counts()
        self.positives = truth_IPL[::2].sum((0, 1))
        self.f1_JCL = f1_score(hits, fires[:, :, None], self.positives)
        self.choice = choose_detectors(hits, fires, self.positives)

    def _some_rows(self) -> np.ndarray:
        flat = self.z[::2].reshape(-1, self.z.shape[-1])
        return flat[drawn_rows(len(flat), self.seed)].astype(np.float32)

    def _counts(self) -> tuple[np.ndarray, np.ndarray]:
        hits: Any = 0
        fires: Any = 0
        for i in range(0, len(self.z), 2 * IMAGES_AT_ONCE):
            z = self.z[i : i + 2 * IMAGES_AT_ONCE : 2].reshape(-1, self.z.shape[-1]).astype(np.float32)
            truth = self.truth[i : i + 2 * IMAGES_AT_ONCE : 2].reshape(len(z), -1)
            h, f = count_hits(z, truth, self.cut_JC)
            hits, fires = hits + h, fires + f
        return hits, fires

    def rows(self) -> list[dict[str, Any]]:
        """One row a label, then the means of each kind and of all (label ``*``)."""
        truth = self.truth[1::2].reshape(-1, len(self.keys))
        z_NL = self.z[1::2].reshape(len(truth), -1)[:, self.choice.cid_L]
        on_NL = z_NL.astype(np.float32) > self.cut_JC[self.choice.level_L, self.choice.cid_L]
        sums = image_sums(on_NL, truth, self.per_image)
        weights = resampling(sums.shape[1], SAMPLES, self.seed)
        by_label = estimates(sums, weights)
        rows = [self._row(i, sums, {name: e[i] for name, e in by_label.items()}) for i in range(len(self.keys))]
        for kind in [*sorted({kind for kind, _ in self.keys}), MEAN]:
            of_kind = [i for i, key in enumerate(self.keys) if kind in (key[0], MEAN)]
            mean = {name: e[-1] for name, e in estimates(sums[:, :, of_kind], weights).items()}
            rows.append(self._mean_row(kind, [rows[i] for i in of_kind], mean))
        return rows

    def _row(self, i: int, sums: np.ndarray, found: dict[str, Estimate]) -> dict[str, Any]:
        kind, label = self.keys[i]
        cid, level = int(self.choice.cid_L[i]), int(self.choice.level_L[i])
        split = absorbed = base = None
        if self.name == IMAGE:
            z, truth = self.z[::2, 0], self.truth[::2, 0, i]
            split = len(splitting(z, truth, self.cut_JC, self.f1_JCL[:, :, i].argmax(0)))
            absorbed, base = self._absorbed(i)
        positives = int(sums[2, :, i].sum())
        return {
            **self._common(found),
            "kind": kind,
            "label": label,
            "cid": cid,
            "threshold": float(self.cut_JC[level, cid]),
            "f1_chosen": float(self.choice.f1_L[i]),
            "prevalence": positives / (sums.shape[1] * self.per_image),
            "n_positive": positives,
            "splitting": None if split is None else float(split),
            "absorption": absorbed / base if absorbed is not None and base else None,
            "absorption_base": base,
        }

    def _absorbed(self, i: int) -> tuple[int | None, int | None]:
        """Of a parent: over its children among the labels, by their own detectors, on the scored half."""
        children = [c for c in range(len(self.keys)) if self.keys[c][0] == OBJECT and self._below(i, c)]
        if self.keys[i][0] != PARENT or not children:
            return None, None
        on = fires_on(self.z[1::2, 0], self.cut_JC, self.choice)
        return absorption(on[:, i], on[:, children], self.truth[1::2, 0][:, children])

    def _below(self, parent: int, child: int) -> bool:
        """Whether every image with the child has the parent: the truth itself says which label is below which."""
        return bool(self.truth[:, 0, parent][self.truth[:, 0, child]].all())

    def _mean_row(self, kind: str, rows: list[dict[str, Any]], found: dict[str, Estimate]) -> dict[str, Any]:
        def mean(name: str) -> float | None:
            values = [row[name] for row in rows if row[name] is not None]
            return float(np.mean(values)) if values else None

        return {
            **self._common(found),
            "kind": kind,
            "label": MEAN,
            "cid": None,
            "threshold": None,
            "f1_chosen": mean("f1_chosen"),
            "prevalence": mean("prevalence"),
            "n_positive": sum(row["n_positive"] for row in rows),
            "splitting": mean("splitting"),
            "absorption": mean("absorption"),
            "absorption_base": sum(row["absorption_base"] or 0 for row in rows) or None,
        }

    def _common(self, found: dict[str, Estimate]) -> dict[str, Any]:
        row: dict[str, Any] = {"scope": self.name}
        for name, estimate in found.items():
            row |= {name: estimate.value, f"{name}_ci_low": estimate.low, f"{name}_ci_high": estimate.high}
        return row
