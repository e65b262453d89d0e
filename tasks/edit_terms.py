"""What an edit that a user asks for comes to in one study: its parts, and the sites of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from concepts import operations
from concepts.cases import EVERYWHERE
from diffusion.times import steps_in_window, time_of_step
from study.at import Dictionary
from tasks.edit_request import PLACE, EditPart, EditRequest


@dataclass(frozen=True)
class SitePlan:
    """What is done at one site: a block's residual update in one half of guidance, by the concepts of its own SAE.

    ``cids``: the concepts, best first; ``instead``: those taken away by replace; ``levels``: what clamp turns ``cids``
    to, unless it is a quantile; ``unit``: RMS norm of the site's residual updates, the unit of strengths; ``top``:
    label of the first concept.
    """

    here: Dictionary
    cids: tuple[int, ...]
    instead: tuple[int, ...]
    levels: tuple[float, ...]
    unit: float
    top: str | None


@dataclass(frozen=True)
class PartPlan:
    """One part.

    ``window``: (t from, t to, time of the dictionaries); ``share``: float64 [H, W] in [0, 1], None for everywhere.
    """

    part: EditPart
    window: tuple[float, float, float]
    share: np.ndarray | None
    sites: tuple[SitePlan, ...]

    def times(self, steps: int) -> list[float]:
        """Diffusion times of the steps at which it acts."""
        return [time_of_step(step, steps) for step in steps_in_window(*self.window[:2], steps)]

    def factor(self, t: float) -> float:
        """What the schedule multiplies the strength by."""
        return operations.schedule(self.part.points, t) if self.part.points else 1.0

    def amount(self, t: float) -> float:
        """The strength at a time."""
        return self.part.amount * self.factor(t)

    @property
    def region(self) -> str:
        """As the column ``region`` has it."""
        return EVERYWHERE if self.part.region is None else self.part.region

    @property
    def places(self) -> bool:
        """Whether it moves an object: then the prompt should name it."""
        return self.part.acts == PLACE and self.part.amount > 0

    def inside(self, shape: tuple[int, ...]) -> np.ndarray:
        """bool [H, W], of an image or of a judge's map: pixels of which half or more are in the region.

        A region so thin that no pixel is has all that it touches.
        """
        if self.share is None:
            return np.ones(shape, bool)
        rows, columns = (np.arange(n) * have // n for n, have in zip(shape, self.share.shape, strict=True))
        share = self.share[np.ix_(rows, columns)]
        return share >= 0.5 if (share >= 0.5).any() else share > 0


@dataclass(frozen=True)
class EditPlan:
    """All that the pictures follow from.

    ``judged``: the label that the judge is asked for, of the first part, if there is one; ``cautions``: sentences for
    the user.
    """

    request: EditRequest
    seed: int
    parts: tuple[PartPlan, ...]
    judged: str | None
    name: str
    cautions: tuple[str, ...]

    @property
    def first(self) -> PartPlan:
        """The part whose label and region the judge is asked for."""
        return self.parts[0]

    def inside(self, shape: tuple[int, ...]) -> np.ndarray:
        """bool [H, W]: what is in the region of any part."""
        return np.any([part.inside(shape) for part in self.parts], axis=0)
