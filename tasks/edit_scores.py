"""What the judge says of an edit that a user asked for, of the image before and of its controls."""

from __future__ import annotations

from typing import Any

import numpy as np

from concepts.effects import success_in_region
from concepts.judging import SEEN
from study.models import backend_of
from study.study import Study
from tasks.edit_terms import EditPlan
from tasks.edits import looks_of
from vision.errors import VisionError

PICTURES = ("before", "after", "control")
QUANTILES = (0.025, 0.975)  # of the controls' scores
COLUMNS = (
    *(f"{what}_{name}" for what in ("score", "placed") for name in PICTURES),
    *("score_control_mean", "score_control_low", "score_control_high", "above_controls"),
    "placed_controls",
)


def judged(
    study: Study, plan: EditPlan, images: dict[str, np.ndarray], others: list[np.ndarray]
) -> tuple[dict[str, Any], list[str]]:
    """The judge's columns of the table ``edits``, and why there are none, if so.

    ``images``: of each of ``PICTURES``; ``others``: those of the further controls. A score is the probability of a
    look, or the largest of an object at a pixel (of the region, if one is given).
    """
    empty: dict[str, Any] = dict.fromkeys(COLUMNS)
    if not plan.request.judge or plan.judged is None:
        return {**empty, "judged": None}, []
    try:
        scores, placed = _scores(study, plan, plan.judged, [*(images[name] for name in PICTURES), *others])
    except VisionError as error:
        return {**empty, "judged": None}, [f"no score of {plan.judged!r}: {error}"]
    told: dict[str, Any] = {f"score_{name}": float(score) for name, score in zip(PICTURES, scores, strict=False)}
    told |= {f"placed_{name}": there for name, there in zip(PICTURES, placed, strict=False)}
    if placed:
        told["placed_controls"] = float(np.mean(placed[2:]))
    return {**empty, **told, **beside(told["score_after"], np.array(scores[2:])), "judged": plan.judged}, []


def beside(score: float, controls_C: np.ndarray) -> dict[str, float | None]:
    """An edit's score beside those of its controls: their mean, the middle 95 % of them, the share that it is above.

    One control has no spread: then the ends are None.
    """
    low, high = np.quantile(controls_C, QUANTILES) if len(controls_C) > 1 else (None, None)
    return {
        "score_control_mean": float(controls_C.mean()),
        "score_control_low": None if low is None else float(low),
        "score_control_high": None if high is None else float(high),
        "above_controls": float((score > controls_C).mean()),
    }


def _scores(study: Study, plan: EditPlan, label: str, shown: list[np.ndarray]) -> tuple[list[float], list[bool]]:
    """Of every image its score and, of an object with a region, whether it is there."""
    judge = backend_of(study).judge
    if label in looks_of(study):
        return [float(score) for score in judge.style_score(shown, label)], []
    maps = judge.object_map(shown, label)
    inside = plan.first.inside(maps.shape[1:])
    placed = [] if plan.first.share is None else [bool(success_in_region(heat, inside, SEEN)) for heat in maps]
    return [float(heat[inside].max()) for heat in maps], placed
