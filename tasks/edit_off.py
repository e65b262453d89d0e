"""How far an edit that a user asks for, and its control, drive activations off their usual distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffusion.edits import Watch
from storage.errors import AtlasError
from study.study import Study
from tasks.edit_scores import PICTURES
from tasks.edit_terms import EditPlan, PartPlan
from tasks.off_distribution import Gauge, Readings, gauges_over

MEASURED = ("off_distribution", "off_downstream")
COLUMNS = tuple(f"{name}_{picture}" for name in MEASURED for picture in PICTURES[1:])


class OffDistribution:
    """The gauges of a plan, and what they read in the run of each picture.

    ``caution`` says why nothing is measured: the distribution is of the study's activations, and a study that was
    handed on may lack them.
    """

    def __init__(self, study: Study, plan: EditPlan) -> None:
        self.caution: str | None = None
        gauges: list[Gauge] = []
        try:
            gauges = gauges_of_plan(study, plan)
        except AtlasError as error:
            self.caution = f"how far off their usual distribution the activations are driven is not known: {error}"
        self._readings = {name: Readings(gauges) for name in PICTURES if gauges}

    def watches(self, picture: str, images: int) -> Sequence[Watch]:
        """For the run of a picture, of so many images."""
        return self._readings[picture].watches(images) if self._readings else ()

    def columns(self) -> dict[str, Any]:
        """Of the table ``edits``: of the edit and of its control, as multiples of the unedited run's distance."""
        told: dict[str, Any] = dict.fromkeys(COLUMNS)
        if self._readings:
            for picture in PICTURES[1:]:
                beside = self._readings[picture].beside(self._readings["before"])
                told |= {f"{name}_{picture}": beside[name][0] for name in MEASURED}
        return told


def gauges_of_plan(study: Study, plan: EditPlan) -> list[Gauge]:
    """Of every part; what two parts share is looked at once, and is edited if either edits it there."""
    found: dict[tuple[str, str, float, float], Gauge] = {}
    for part in plan.parts:
        for gauge in _gauges_of_part(study, part):
            place = (gauge.module, gauge.half, gauge.t_low, gauge.t_high)
            if place not in found or gauge.edited:
                found[place] = gauge
    return list(found.values())


def _gauges_of_part(study: Study, planned: PartPlan) -> list[Gauge]:
    low, high, time = planned.window
    sites = [site.here.site for site in planned.sites]
    edited, halves = dict.fromkeys(site.block for site in sites), dict.fromkeys(site.conditioning for site in sites)
    return gauges_over(study, list(edited), list(halves), (low, high), (time,))
