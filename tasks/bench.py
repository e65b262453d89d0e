"""``concepts bench``: every dictionary of a study, and any other, scored against images of known truth.

The images are noised to each time and pass the model once with their captions; what a dictionary makes of the residual
updates is held against the masks. Detectors are chosen on even rows of the truth, everything reported is of odd rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from concepts.detectors import (
    CELL_LEVELS,
    IMAGE_LEVELS,
    Estimate,
    absorption,
    choose,
    count_hits,
    estimates,
    f1_score,
    fires_on,
    image_sums,
    resampling,
    splitting,
    thresholds,
)
from diffusion.noised import record_images, signal_to_noise
from diffusion.sampling import Record
from sae.io import CONFIG, WEIGHTS
from tasks.errors import StudyError
from tasks.methods import PROBE, Encode, dictionaries, fit_probe
from tasks.parts import publish
from tasks.plans import bench_unit
from tasks.study import Site, Study, borrowed_model, site_columns
from tasks.truth import Key, Truth, file_digest, read_truth

MIN_IMAGES = 10  # of each half: fewer say nothing about a rate
SAMPLES = 1000  # of the bootstrap
IMAGES_AT_ONCE = 100
THRESHOLD_ROWS = 30_000  # cells that thresholds are quantiles of
MEAN = "*"


@dataclass(frozen=True)
class BenchInputs:
    """What a bench run is a function of, beside the study: the truth, and the user's dictionaries by name."""

    truth: str
    given: dict[str, tuple[str, str]]

    def facts(self) -> dict[str, Any]:
        """Digests, for the completion record: other inputs make a unit not done."""
        files = {
            n: [file_digest(Path(path) / file) for file in (WEIGHTS, CONFIG)] for n, (_, path) in self.given.items()
        }
        return {
            "truth": file_digest(Path(self.truth)),
            "dictionaries": {n: [where, *files[n]] for n, (where, _) in self.given.items()},
        }


@dataclass(frozen=True)
class Target:
    """What a site's features are held against: labels, presence bool [I, L] and cells bool [I, cells, L]."""

    keys: list[Key]
    present_IL: np.ndarray
    cells_IPL: np.ndarray


def bench_time(study: Study, t: float, conditioning: str, inputs: BenchInputs) -> dict[str, Any]:
    """Score every method at every block of one time, and write its part of ``bench``."""
    truth = read_truth(Path(inputs.truth))
    keys = truth.keys(MIN_IMAGES)
    if not keys:
        raise StudyError(f"{inputs.truth}: no label is in {MIN_IMAGES} images of each half: give more images")
    maps, snr = record_truth(study, truth, t, conditioning)
    rows: list[dict[str, Any]] = []
    for site, x in maps.items():
        target = Target(keys, truth.present(keys), truth.cells(keys, x.shape[1:3]))
        for k in study.config.sae.k:
            columns = {**site_columns(site, k), "snr": snr}
            rows += [{**columns, **row} for row in bench_site(study, site, k, x, target, inputs.given)]
    unit = bench_unit(t, conditioning)
    publish(study, "bench", unit, {"bench": rows}, extra={"inputs": inputs.facts()})
    return {"t": t, "rows": len(rows)}


def record_truth(study: Study, truth: Truth, t: float, conditioning: str) -> tuple[dict[Site, np.ndarray], float]:
    """Residual updates float16 [I, rows, columns, D] of the truth at every block, and the signal to noise."""
    record = Record(dict(study.config.sites.blocks), (t,), (conditioning,))
    found: dict[Site, list[np.ndarray]] = {}
    with borrowed_model(study) as model:
        for i in range(0, len(truth.captions), IMAGES_AT_ONCE):
            at = slice(i, i + IMAGES_AT_ONCE)
            given = (truth.images[at], truth.captions[at], truth.seeds[at])
            for site, array in record_images(model, *given, study.config.sampling, record).items():
                found.setdefault(site, []).append(array)
        snr = signal_to_noise(model, t, study.config.sampling)
    return {site: np.concatenate(arrays) for site, arrays in found.items()}, snr


def bench_site(
    study: Study, site: Site, k: int, maps: np.ndarray, target: Target, given: dict[str, tuple[str, str]]
) -> list[dict[str, Any]]:
    """Rows of every method at one site; ``maps`` float16 [I, rows, columns, D]."""
    x_IPD = maps.reshape(len(maps), -1, maps.shape[-1])
    methods: list[tuple[str, Encode]] = list(dictionaries(study, site, k, given))
    chosen = x_IPD[::2]
    at = np.random.default_rng(study.config.seed).permutation(chosen.shape[0] * chosen.shape[1])[:THRESHOLD_ROWS]
    x_ND = chosen.reshape(-1, chosen.shape[-1])[at].astype(np.float32)
    methods.append((PROBE, fit_probe(x_ND, target.cells_IPL[::2].reshape(-1, len(target.keys))[at])))
    rows = []
    for name, encode in methods:
        scored = score_method(encode, x_IPD, target, study.config.seed)
        rows += [{"method": name, **row} for row in scored]
    return rows


def score_method(encode: Encode, x_IPD: np.ndarray, target: Target, seed: int) -> list[dict[str, Any]]:
    """Rows of one method: by cells, and by images (a feature's largest activation against the label's presence)."""
    peaks, cells = _encode_all(encode, x_IPD)
    of_images = _Scope("image", peaks[:, None], target.present_IL[:, None], target.keys, seed)
    of_cells = _Scope("cell", cells, target.cells_IPL, target.keys, seed)
    return of_images.rows() + of_cells.rows()


def _encode_all(encode: Encode, x_IPD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Peaks float32 [I, C] and features float16 [I, cells, C] of all images, some at a time."""
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
        self.cut_JC = thresholds(self._some_rows(), IMAGE_LEVELS if name == "image" else CELL_LEVELS)
        hits, fires = self._counts()
        self.positives = truth_IPL[::2].sum((0, 1))
        self.f1_JCL = f1_score(hits, fires[:, :, None], self.positives)
        self.choice = choose(hits, fires, self.positives)

    def _some_rows(self) -> np.ndarray:
        flat = self.z[::2].reshape(-1, self.z.shape[-1])
        at = np.random.default_rng(self.seed).permutation(len(flat))[:THRESHOLD_ROWS]
        return flat[at].astype(np.float32)

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
        found = estimates(sums, weights)
        rows = [self._row(i, sums, {name: e[i] for name, e in found.items()}) for i in range(len(self.keys))]
        for kind in sorted({kind for kind, _ in self.keys}) + [MEAN]:
            of_kind = [i for i, key in enumerate(self.keys) if kind in (key[0], MEAN)]
            mean = {name: e[-1] for name, e in estimates(sums[:, :, of_kind], weights).items()}
            rows.append(self._mean_row(kind, [rows[i] for i in of_kind], mean))
        return rows

    def _row(self, i: int, sums: np.ndarray, found: dict[str, Estimate]) -> dict[str, Any]:
        kind, label = self.keys[i]
        cid, level = int(self.choice.cid_L[i]), int(self.choice.level_L[i])
        split = absorbed = base = None
        if self.name == "image":
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
        children = [c for c in range(len(self.keys)) if self.keys[c][0] == "object" and self._below(i, c)]
        if self.keys[i][0] != "parent" or not children:
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
