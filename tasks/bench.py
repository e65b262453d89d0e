"""``concepts bench``: every dictionary of a study, and any other, scored against images of known truth.

The images are noised to each time and pass the model once with their captions; what a dictionary makes of the residual
updates is held against the masks. Detectors are chosen on even rows of the truth, everything reported is of odd rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from concepts.baselines import PROBE, Encode
from concepts.detector_scores import Target, probe_of, score_method
from diffusion.noised import record_images, signal_to_noise
from diffusion.sampling import SitesToRecord
from sae.folder import CONFIG, WEIGHTS
from storage.site import Site
from study.at import Dictionary
from study.errors import StudyError
from study.models import borrowed_model
from study.publish import publish
from study.study import Study
from study.units import bench_unit
from tasks.methods import dictionaries
from tasks.truth import Truth, file_digest, read_truth

MIN_IMAGES = 10  # of each half: fewer say nothing about a rate
IMAGES_AT_ONCE = 100


@dataclass(frozen=True)
class BenchInputs:
    """What a bench run is a function of, besides the study: the truth, and the user's dictionaries by name."""

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
            here = study.at(site, k)
            columns = {**here.columns, "snr": snr}
            rows += [{**columns, **row} for row in bench_site(here, x, target, inputs.given)]
    unit = bench_unit(t, conditioning)
    publish(study, "bench", unit, {"bench": rows}, extra={"inputs": inputs.facts()})
    return {"t": t, "rows": len(rows)}


def record_truth(study: Study, truth: Truth, t: float, conditioning: str) -> tuple[dict[Site, np.ndarray], float]:
    """Residual updates float16 [I, rows, columns, D] of the truth at every block, and the signal to noise."""
    record = SitesToRecord(dict(study.config.sites.blocks), (t,), (conditioning,))
    parts: dict[Site, list[np.ndarray]] = {}
    with borrowed_model(study) as model:
        for i in range(0, len(truth.captions), IMAGES_AT_ONCE):
            at = slice(i, i + IMAGES_AT_ONCE)
            given = (truth.images[at], truth.captions[at], truth.seeds[at])
            for site, array in record_images(model, *given, study.config.sampling, record).items():
                parts.setdefault(site, []).append(array)
        snr = signal_to_noise(model, t, study.config.sampling)
    return {site: np.concatenate(arrays) for site, arrays in parts.items()}, snr


def bench_site(
    here: Dictionary, maps: np.ndarray, target: Target, given: dict[str, tuple[str, str]]
) -> list[dict[str, Any]]:
    """Rows of every method at one site; ``maps`` float16 [I, rows, columns, D]."""
    seed = here.study.config.seed
    x_IPD = maps.reshape(len(maps), -1, maps.shape[-1])
    methods: list[tuple[str, Encode]] = list(dictionaries(here, given))
    methods.append((PROBE, probe_of(x_IPD, target, seed)))
    rows = []
    for name, encode in methods:
        scored = score_method(encode, x_IPD, target, seed)
        rows += [{"method": name, **row} for row in scored]
    return rows
