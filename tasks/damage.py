"""What edits cost beside what they do: what becomes of the things around, and how far off activations are driven."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from concepts.cases import Case
from concepts.judging import ThingsKept
from study.models import backend_of
from study.study import Study
from study.units import PlannedEdit
from tasks.editor import Editor
from tasks.judging import NamedThings
from tasks.off_distribution import Readings, gauges_of

MEASURES = ("objects_kept", "layout_iou", "fidelity", "features", "off_distribution", "off_downstream")
Rows = list[dict[str, Any]]  # of columns of ``interventions``, ``MEASURES``, one for each case


class Damage:
    """Of all that is done to some cases in one window at the same places, beside the unedited images and their run."""

    def __init__(
        self, study: Study, edit: PlannedEdit, cases: list[Case], before: list[np.ndarray], editor: Editor
    ) -> None:
        """Judges the unedited images. Where anything is edited, samples them again up to the window's end, to watch."""
        asked = study.config.interventions.damage
        self.study, self.cases, self.before, self.asked = study, cases, before, asked
        self.moves = edit.kind == "spatial"
        judged = cases if asked or not self.moves else []
        self.things = NamedThings(study, judged, before, edit.target if self.moves else None)
        self.gauges = gauges_of(study, editor.recipe) if asked and cases and editor.cid_count else []
        self.usual = Readings(self.gauges)
        if self.gauges:
            editor.look(cases, self.usual.watches)

    def unedited(self) -> Rows:
        """Of the unedited images, which have lost nothing: how much of its caption each shows, and its features."""
        return self._rows(self.before, **({"fidelity": self.things.unchanged().fidelities()} if self.asked else {}))

    def edited(self, editor: Editor) -> tuple[list[np.ndarray], Rows]:
        """The images of a recipe, and what they cost."""
        readings = Readings(self.gauges)
        images = editor.run(self.cases, readings.watches if self.gauges else None)
        return images, self._rows(images, **self._of_things(self.things.judged(images)), **self._off(readings))

    def _of_things(self, kept: ThingsKept) -> dict[str, list[float | None]]:
        # A spatial edit is to move a thing; where it went wrong is told by success.
        shares: dict[str, list[float | None]] = {} if self.moves else {"objects_kept": kept.shares()}
        return shares | ({"layout_iou": kept.ious(), "fidelity": kept.fidelities()} if self.asked else {})

    def _off(self, readings: Readings) -> dict[str, list[float | None]]:
        return readings.beside(self.usual) if self.gauges else {}

    def _rows(self, images: list[np.ndarray], **measured: Sequence[Any]) -> Rows:
        """``measured``: values of every case; what is not among them is None."""
        measured |= {"features": self._features(images)}
        return [
            {name: measured[name][i] if name in measured else None for name in MEASURES} for i in range(len(images))
        ]

    def _features(self, images: list[np.ndarray]) -> Sequence[list[float] | None]:
        judge = backend_of(self.study).judge
        if not self.asked or not images or not hasattr(judge, "features"):
            return [None] * len(images)
        return [list(map(float, features)) for features in judge.features(images)]
