"""The units of work of every stage, by the names of their completion records. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from study.paths import series_name
from study.study import Study

SEGMENTED_SPLITS = ("dictionary", "layout")
KINDS = ("spatial", "global")
EFFECTS_UNIT, DRAW_UNIT = "all", "all"
DRAW_STAGE = "draw"  # its one record says that all pictures were drawn; each has a record of its own
FIGURE_STAGE, CARD_STAGE = "figures", "cards"  # of the records of pictures: no stages that are counted


@dataclass(frozen=True)
class Unit:
    """One kind of edit (spatial or global) of one target in one window."""

    kind: str
    target: str
    window: str

    @property
    def name(self) -> str:
        """Name of the unit's completion record."""
        return f"{self.kind}-{self.target}-{self.window}"


@dataclass(frozen=True)
class Calibration:
    """One kind of edit in one window, all its targets together."""

    kind: str
    window: str

    @property
    def name(self) -> str:
        """Name of the calibration's completion record."""
        return f"{self.kind}-{self.window}"


def targets_of(study: Study, kind: str) -> tuple[str, ...]:
    """The configured labels of a kind of edit."""
    settings = study.config.interventions
    return settings.objects if kind == "spatial" else settings.styles


def strengths_of(study: Study, kind: str) -> tuple[float, ...]:
    """The strengths that a kind of edit may have."""
    settings = study.config.interventions
    return settings.spatial_strengths if kind == "spatial" else settings.global_strengths


def plan_units(study: Study) -> list[Unit]:
    """All units of the configuration, windows innermost."""
    windows = study.config.interventions.windows
    return [Unit(kind, target, window) for kind in KINDS for target in targets_of(study, kind) for window in windows]


def plan_calibrations(study: Study) -> list[Calibration]:
    """Every kind that has targets, in every window; none where there is only one strength to choose from."""
    kinds = [kind for kind in KINDS if targets_of(study, kind) and len(strengths_of(study, kind)) > 1]
    return [Calibration(kind, window) for kind in kinds for window in study.config.interventions.windows]


def match_unit(block: str, conditioning: str, k: int) -> str:
    """Name of the unit's completion record."""
    return f"{series_name(block, conditioning)}/k{k}"


def bench_unit(t: float, conditioning: str) -> str:
    """Name of the completion record of one time."""
    return f"{t:.2f}/{conditioning}"


FIRST_IMAGES = 8  # of a study, side by side the picture that Prefect's page of a collection shows
