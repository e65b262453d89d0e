"""The units of work of every stage: the name of each one's completion record, and what its work is given.

A unit is what is done or not done. Several may be made by one piece of work, as all SAEs of a site are trained
together: they are given the same. Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from storage.growth import growth_unit
from study.paths import growths, sae_units, series_name, shard_name, shards_of, time_series, unit_name

if TYPE_CHECKING:
    from study.study import Study

Units = dict[str, dict[str, Any]]  # name of a completion record -> keyword arguments of the stage's work

SEGMENTED_SPLITS = ("dictionary", "layout")
KINDS = ("spatial", "global")
FIRST_IMAGES = 8  # of a study, side by side the picture that Prefect's page of a collection shows
PROMPTS_UNIT, EFFECTS_UNIT, DRAW_UNIT, ONSETS_UNIT = "prompts", "all", "all", "all"
TRACE_METHODS = ("switch", "patch")
EVERY = "all"  # of causal traces: the window of every step
FIGURE_STAGE, CARD_STAGE = "figures", "cards"  # of the records of pictures: no stages that are counted


@dataclass(frozen=True)
class PlannedEdit:
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


def the_prompts(study: Study) -> Units:
    """One unit: prompts are drawn together. Of a growing study one a growth, and the next if its source has changed."""
    if not study.config.prompts.grows:
        return {PROMPTS_UNIT: {}}
    known = growths(study)
    is_due = known.last < 0 or study.source not in (None, known.source)
    return {growth_unit(number): {"growth": number} for number in range(known.last + 1 + is_due)}


def shards(study: Study) -> Units:
    """A unit a shard of prompts."""
    return {shard_name(shard): {"shard": shard} for shard in shards_of(study)}


def segmented_shards(study: Study) -> Units:
    """A unit a shard that holds an image to be segmented."""
    return {shard_name(shard): {"shard": shard} for shard in shards_of(study, *SEGMENTED_SPLITS)}


def is_by_shard(units: Callable[[Study], Units]) -> bool:
    """Whether the units are shards: what is made of one stands, whatever comes in later."""
    return units in (shards, segmented_shards, attended_shards)


def attended_shards(study: Study) -> Units:
    """A unit a segmented shard, if heat maps of attention are asked for."""
    return segmented_shards(study) if study.config.layout.attention else {}


def saes_by_site(study: Study) -> Units:
    """A unit a (site, k); all k of a site are trained by one piece of work."""
    return {unit_name(site, k): {"site": site} for site, k in sae_units(study)}


def saes(study: Study) -> Units:
    """A unit a (site, k)."""
    return {unit_name(site, k): {"site": site, "k": k} for site, k in sae_units(study)}


def shared_saes(study: Study) -> Units:
    """A unit a (block, conditioning), if SAEs of all times are trained."""
    if not study.config.sae.across_time:
        return {}
    return {series_name(block, c): {"block": block, "conditioning": c} for block, c in time_series(study)}


def matches(study: Study) -> Units:
    """A unit a (block, conditioning, k): each time is matched to the next."""
    return {
        match_unit(block, c, k): {"block": block, "conditioning": c, "k": k}
        for block, c in time_series(study)
        for k in study.config.sae.k
    }


def located_kinds(study: Study) -> Units:
    """A unit a kind of edit whose blocks are left to a trace, where there are several to choose from."""
    settings = study.config.interventions
    left = [kind for kind in KINDS if targets_of(study, kind) and not settings.named_blocks(kind)]
    return {kind: {"kind": kind} for kind in left if len(study.config.sites.blocks) > 1}


def calibrations(study: Study) -> Units:
    """A unit a (kind, window) for kinds that have targets, and more than one strength to choose from."""
    kinds = [kind for kind in KINDS if targets_of(study, kind) and len(strengths_of(study, kind)) > 1]
    planned = [Calibration(kind, window) for kind in kinds for window in study.config.interventions.windows]
    return {one.name: {"calibration": one} for one in planned}


def edits(study: Study) -> Units:
    """A unit a (kind, target, window), windows innermost."""
    windows = study.config.interventions.windows
    planned = [PlannedEdit(kind, target, w) for kind in KINDS for target in targets_of(study, kind) for w in windows]
    return {edit.name: {"edit": edit} for edit in planned}


def traces(study: Study) -> Units:
    """A unit a (method, kind) of causal tracing, for kinds that have targets."""
    return {
        f"{method}-{kind}": {"method": method, "kind": kind}
        for kind in KINDS
        if targets_of(study, kind)
        for method in TRACE_METHODS
    }


def onset_edits(study: Study) -> Units:
    """A unit a (kind, target): the target's edits from every onset."""
    planned = [(kind, target) for kind in KINDS for target in targets_of(study, kind)]
    return {f"{kind}-{target}": {"kind": kind, "target": target} for kind, target in planned}


def causes(study: Study) -> Units:
    """A unit a (kind, window): the labelled concepts of the sites that serve it."""
    windows = study.config.interventions.windows
    return {f"{kind}-{w}": {"kind": kind, "window": w} for kind in KINDS if targets_of(study, kind) for w in windows}


def all_onsets(_study: Study) -> Units:
    """One unit: the times at which edits stop to work, of all of them."""
    return {ONSETS_UNIT: {}}


def all_effects(_study: Study) -> Units:
    """One unit: effects are summed up over all edits."""
    return {EFFECTS_UNIT: {}}


def all_figures(_study: Study) -> Units:
    """One unit: its record says that all pictures were drawn, and each of them has a record of its own."""
    return {DRAW_UNIT: {}}


def scored_times(study: Study) -> Units:
    """A unit a time, of the first conditioning: what the bench scores together."""
    conditioning = study.config.sites.conditionings[0]
    return {bench_unit(t, conditioning): {"t": t, "conditioning": conditioning} for t in study.config.sites.times}


def targets_of(study: Study, kind: str) -> tuple[str, ...]:
    """The configured labels of a kind of edit."""
    settings = study.config.interventions
    return settings.objects if kind == "spatial" else settings.styles


def strengths_of(study: Study, kind: str) -> tuple[float, ...]:
    """The strengths that a kind of edit may have."""
    settings = study.config.interventions
    return settings.spatial_strengths if kind == "spatial" else settings.global_strengths


def match_unit(block: str, conditioning: str, k: int) -> str:
    """Name of the unit's completion record."""
    return f"{series_name(block, conditioning)}/k{k}"


def bench_unit(t: float, conditioning: str) -> str:
    """Name of the completion record of one time."""
    return f"{t:.2f}/{conditioning}"
