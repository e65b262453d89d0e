"""tau50 of every kind of edit and control, and of what the kinds differ by, from edits at every onset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control

from concepts.edit_controls import CONCEPTS, SWITCHED
from concepts.onsets import rise_and_fall, tau50, tau50_difference

ALL = "*"  # of the targets
MEASURED = (CONCEPTS, SWITCHED)  # what has a peak: random directions succeed nowhere
DIFFERENCE = "spatial-global"
Rows = list[dict[str, Any]]


def onset_rows(rows: Rows, samples: int, seed: int) -> Rows:
    """The rows of ``temporal_onsets``, from rows of ``temporal_atlas``; intervals resample prompts by ``seed``.

    Each length has curves of its own; p values of all differences are corrected together.
    """
    found: Rows = []
    for length in sorted({row["length"] for row in rows}, reverse=True):
        of_length = [row for row in rows if row["length"] == length]
        found += [{"length": length} | told for told in _of_length(of_length, samples, seed)]
    differing = [row for row in found if row["kind"] == DIFFERENCE]
    if differing:
        for row, q in zip(differing, false_discovery_control([row["p"] for row in differing]), strict=True):
            row["q"] = float(q)
    return found


def _of_length(rows: Rows, samples: int, seed: int) -> Rows:
    groups = {(row["kind"], row["control"]) for row in rows if row["control"] in MEASURED}
    found: Rows = []
    for kind, control in sorted(groups):
        of_group = [row for row in rows if (row["kind"], row["control"]) == (kind, control)]
        for target in (ALL, *sorted({row["target"] for row in of_group})):
            onsets, prompts, success = curves(r for r in of_group if target in (ALL, r["target"]))
            key = {"kind": kind, "control": control, "target": target, "n_prompts": len(prompts)}
            found.append(key | _halving(onsets, success, samples, seed))
    return found + list(_differences(rows, samples, seed))


def curves(rows: Iterable[dict[str, Any]]) -> tuple[np.ndarray, list[int], np.ndarray]:
    """Onsets [T] from noise to image, prompt ids [P], success float64 [P, T]: each prompt's mean over its cases.

    Every prompt has a case at every onset.
    """
    cells: dict[tuple[int, float], list[float]] = {}
    for row in rows:
        cells.setdefault((row["prompt_id"], row["onset"]), []).append(float(row["success"]))
    prompts = sorted({prompt for prompt, _ in cells})
    onsets = sorted({onset for _, onset in cells}, reverse=True)
    success = np.array([[np.mean(cells[prompt, onset]) for onset in onsets] for prompt in prompts])
    return np.array(onsets), prompts, success


def _halving(onsets: np.ndarray, success_PT: np.ndarray, samples: int, seed: int) -> dict[str, Any]:
    fit, peak = rise_and_fall(success_PT.mean(0))
    told = tau50(onsets, success_PT, samples, seed) if fit[peak] > 0 else None
    return {
        "tau50": told.value if told else None,
        "tau50_ci_low": told.low if told else None,
        "tau50_ci_high": told.high if told else None,
        "never": told.never if told else None,
        "p": None,
        "q": None,
        "peak": float(fit[peak]),
    }


def _differences(rows: Rows, samples: int, seed: int) -> Iterator[dict[str, Any]]:
    """Of places and looks, by concepts: over all looks, and over each; on the prompts that both kinds have."""
    of = {kind: [r for r in rows if (r["kind"], r["control"]) == (kind, CONCEPTS)] for kind in ("spatial", "global")}
    if not of["spatial"] or not of["global"]:
        return
    onsets, places, layout = curves(of["spatial"])
    for target in (ALL, *sorted({row["target"] for row in of["global"]})):
        _, looks, style = curves(row for row in of["global"] if target in (ALL, row["target"]))
        both = sorted(set(places) & set(looks))
        if len(both) < 2 or not layout.any() or not style.any():
            continue
        one, other = (success[[ids.index(p) for p in both]] for ids, success in ((places, layout), (looks, style)))
        value, low, high, p = tau50_difference(onsets, one, other, samples, seed)
        yield {
            "kind": DIFFERENCE,
            "control": CONCEPTS,
            "target": target,
            "tau50": value,
            "tau50_ci_low": low,
            "tau50_ci_high": high,
            "never": None,
            "p": p,
            "peak": None,
            "n_prompts": len(both),
        }
