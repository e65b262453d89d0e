"""One study's configuration: the YAML file, its fields and how it is read.

The settings of each room are declared in that room; this module composes them and adds what only the whole
study knows (sites, seed, execution). ``load_config`` turns a YAML file plus ``a.b=value`` overrides into a
frozen ``StudyConfig`` or into one sentence that names the offending key.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, model_validator

from concepts.atlas_settings import AtlasSettings
from concepts.edit_controls import TRACED
from concepts.settings import InterventionSettings, LabelSettings, LayoutSettings
from diffusion.settings import ModelSettings, SamplingSettings
from diffusion.times import step_of_time
from sae.settings import SAESettings
from storage.errors import StorageError
from storage.names import refuse_names
from storage.prompts import PromptSettings
from storage.site import Site
from study.errors import StudyError
from study.limits import refuse_unworkable
from study.mistakes import one_sentence
from study.settings_file import apply_overrides, read_settings, refuse_impossible
from study.slots import kind_of
from vision.errors import VisionError
from vision.settings import VisionSettings
from vision.targets import refuse_unreachable

# Every setting that names files -> what lies there, by which its contents are identified (``study/identity.py``).
PATH_FIELDS: dict[str, Literal["captions", "diffusion model", "vision model", "file"]] = {
    "model.path": "diffusion model",
    "prompts.source": "captions",
    "vision.mini.path": "vision model",
    "vision.mini.second_path": "vision model",
    "vision.vocabulary_file": "file",
    "vision.transformers.detector": "vision model",
    "vision.transformers.segmenter": "vision model",
    "vision.transformers.clip": "vision model",
    "vision.transformers.judge_clipseg": "vision model",
    "vision.transformers.judge_clip": "vision model",
    "vision.transformers.second_opinion": "vision model",
    "labels.word2vec_path": "file",
    "labels.hierarchy": "file",
}

Conditioning = Literal["cond", "uncond"]


class SiteSettings(BaseModel):
    """Where and when activations are recorded. Every combination of the three fields is one site."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocks: dict[str, str] = Field(
        description="Short block name (down, mid, up) -> module path in the U-Net. Paper, section 1, names SD v1.4's."
    )
    times: tuple[float, ...] = Field(
        (1.0, 0.5, 0.0), description="Diffusion times in [0, 1]; 1 is the first reverse step. The paper's three."
    )
    conditionings: tuple[Conditioning, ...] = Field(
        ("cond", "uncond"), description="Halves of classifier-free guidance that are recorded apart."
    )

    @model_validator(mode="after")
    def _sensible(self) -> SiteSettings:
        if not self.blocks:
            raise ValueError("sites.blocks is empty: name at least one block")
        if any(not 0.0 <= t <= 1.0 for t in self.times):
            raise ValueError(f"sites.times must lie in [0, 1] (1 = pure noise), got {list(self.times)}")
        if len({f"{t:.2f}" for t in self.times}) != len(self.times):
            raise ValueError("sites.times are written with two decimals and two of them coincide")
        return self


class RunSettings(BaseModel):
    """How the work is executed. Nothing here changes a result, so a study may be resumed under other values.

    But for ``torch_threads``, on which last bits depend: a study keeps the number that it was begun with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_runner: Literal["thread", "dask"] = Field(
        "thread", description="Prefect task runner: threads of this process, or a Dask cluster."
    )
    max_workers: int = Field(
        1,
        ge=1,
        description="Units in flight at once. 1 suits a GPU; on a CPU, as many as cores with torch_threads 1 wait less "
        "for each other than one unit spread over all cores.",
    )
    devices: tuple[str, ...] = Field(
        (),
        description="torch devices that units run on side by side, as in [cuda:0, cuda:1]: as many at once as are "
        "named, each on one of its own for sampling, training, vision and edits alike; a device that is named twice "
        "has two. Empty: model.device.",
    )
    dask_address: str | None = Field(
        None, description="Address of a running Dask scheduler; empty starts a local cluster of max_workers processes."
    )
    dask_resources: dict[str, PositiveFloat] = Field(
        {},
        description="What a unit that needs a device takes of a worker of run.dask_address, as in {GPU: 1}: it goes to "
        "workers that declare that (dask worker --resources GPU=1), to each as many at once as it has for them, and "
        "other units anywhere. Empty: any unit to any worker.",
    )
    share: bool = Field(
        False,
        description="Share the study with other processes that do, on this machine or others: each takes the units "
        "that nobody has. Else a run keeps the folder to itself.",
    )
    lease: float = Field(
        60.0,
        ge=1.0,
        description="Seconds without a sign of life after which those who share take a process's units over. It gives "
        "three signs in that time; longer than it ever stands still (a machine that swaps, a file server that starts).",
    )
    torch_threads: int | None = Field(
        None,
        ge=1,
        description="Threads of one operation of torch or numpy; empty takes what the study was begun with, or torch's "
        "default for a new one: all cores, divided among the units at once. The last bits of results depend on it, so "
        "a study keeps its number.",
    )
    compression: Literal["none", "zstd"] = Field(
        "none",
        description="Of activations on disk, chosen when a study's store is made, which keeps it; either way every "
        "chunk carries a checksum. zstd saves 8 % of the bytes and takes about twice as long to write and to read.",
    )
    keep_checkpoints: bool = Field(
        False,
        description="Keep what training resumes from after its SAEs are published: three times their bytes, and of no "
        "use to any later stage.",
    )
    tensorboard: bool = Field(
        False, description="Also write training curves for TensorBoard, below the study folder's tensorboard/."
    )
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65_535,
        description="Port of loopback on which a run serves figures for Prometheus while it lasts; empty: none.",
    )
    log_format: Literal["text", "json"] = Field(
        "text",
        description="What a run says on stderr: progress, or its log as JSON, an object a line; CONCEPTS_LOG=json asks "
        "for the same.",
    )
    retries: int = Field(2, ge=0, description="Times a failed task is tried again before the flow fails.")
    retry_delay: float = Field(5.0, ge=0, description="Seconds before the first retry; doubles after each.")

    @property
    def at_once(self) -> int:
        """Units in flight at once: on one device each, where devices are named."""
        return len(self.devices) or self.max_workers

    @model_validator(mode="after")
    def _devices_are_of_one_kind(self) -> RunSettings:
        kinds = sorted(set(map(kind_of, self.devices)))
        if "auto" in kinds:
            raise ValueError("run.devices names 'auto': name devices, as in [cuda:0, cuda:1], or leave it empty")
        if len(kinds) > 1:
            raise ValueError(
                f"run.devices names {' and '.join(kinds)}, which differ in the last bits: results would depend on "
                "which unit ran where; name devices of one kind"
            )
        return self


class StudyConfig(BaseModel):
    """A whole study. Two runs with equal values (``run`` aside) on one machine give equal tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Name of the study, as `concepts status` shows it; changes no result.")
    seed: int = Field(0, ge=0, description="Root of every random number in the study.")
    model: ModelSettings
    sampling: SamplingSettings
    sites: SiteSettings
    prompts: PromptSettings
    sae: SAESettings
    vision: VisionSettings
    labels: LabelSettings = LabelSettings()
    layout: LayoutSettings = LayoutSettings()
    interventions: InterventionSettings
    atlas: AtlasSettings = AtlasSettings()
    run: RunSettings = RunSettings()

    @model_validator(mode="after")
    def _named_well(self) -> StudyConfig:
        """Blocks, splits and windows become parts of paths; so do targets, which are words of a vocabulary first."""
        if not self.name.strip():
            raise ValueError("name is blank: give the study a name")
        refuse_names(self.sites.blocks, "sites.blocks:")
        refuse_names(self.prompts.splits, "prompts.splits:")
        refuse_names(self.interventions.windows, "interventions.windows:")
        if taken := [block for block in self.sites.blocks if f"{block}-".casefold().startswith("shared-")]:
            raise ValueError(f"sites.blocks: {taken[0]!r} is taken, by the SAEs of all times together: rename it")
        if TRACED in self.sites.blocks:
            raise ValueError(f"sites.blocks: {TRACED!r} is taken, by edits whose blocks a trace chooses: rename it")
        self._units_differ()
        return self

    def _units_differ(self) -> None:
        edits = self.interventions
        for targets in (edits.objects, edits.styles):
            pairs: dict[str, tuple[str, str]] = {}
            for pair in [(target, window) for target in targets for window in edits.windows]:
                other = pairs.setdefault("-".join(pair).casefold(), pair)
                if other[1] != pair[1]:  # two of one window are one label, which is said elsewhere
                    raise ValueError(
                        f"interventions: target {other[0]!r} in window {other[1]!r} and {pair[0]!r} in {pair[1]!r} "
                        "would be written to one file: rename a window"
                    )

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        missing = {"train", "dictionary", "layout", "style"} - set(self.prompts.splits)
        if missing:
            raise ValueError(f"prompts.splits lacks {sorted(missing)}: each of the four splits needs a size")
        for field in ("block", "spatial_block", "global_block"):
            given = getattr(self.interventions, field) or ()
            for block in (given,) if isinstance(given, str) else given:
                if block not in (*self.sites.blocks, TRACED):
                    known = sorted(self.sites.blocks)
                    raise ValueError(f"interventions.{field} is {block!r}, which sites.blocks does not name ({known})")
        if "cond" not in self.sites.conditionings:
            raise ValueError("interventions edit the cond branch: sites.conditionings must include 'cond'")
        if self.interventions.halves == "both" and "uncond" not in self.sites.conditionings:
            raise ValueError(
                "interventions.halves is 'both', but no SAE is trained of uncond: add 'uncond' to sites.conditionings, "
                "or edit cond alone"
            )
        self._windows_have_saes()
        self._times_are_steps()
        return self

    def _times_are_steps(self) -> None:
        steps: dict[int, float] = {}
        for t in self.sites.times:
            step = step_of_time(t, self.sampling.steps)
            if step in steps:
                raise ValueError(
                    f"sites.times {steps[step]} and {t} are the same step of sampling.steps {self.sampling.steps}: "
                    "drop one of them or take more steps"
                )
            steps[step] = t

    def _windows_have_saes(self) -> None:
        for name, (_, _, t) in self.interventions.windows.items():
            if t not in self.sites.times:
                raise ValueError(
                    f"interventions.windows.{name} uses the SAE of t={t}, but sites.times are {list(self.sites.times)}"
                )
        picked_at = self.interventions.transfer_from
        if picked_at is not None and picked_at not in self.sites.times:
            raise ValueError(
                f"interventions.transfer_from is {picked_at:g}, but sites.times are {list(self.sites.times)}: no SAE "
                "has concepts of that time"
            )

    def sites_list(self) -> list[Site]:
        """Every site, in the order block, timestep, conditioning of the configuration."""
        s = self.sites
        return [Site(b, t, c) for b in s.blocks for t in s.times for c in s.conditionings]


def load_config(path: str | Path, overrides: tuple[str, ...] | list[str] = ()) -> StudyConfig:
    """Read a study's YAML file. Relative paths in it are relative to the file itself.

    ``overrides`` are ``dotted.key=value`` strings whose values are YAML. Raises ``StudyError``.
    """
    path = Path(path)
    raw = read_settings(path)
    _resolve_paths(raw, path.parent)
    apply_overrides(raw, overrides)
    refuse_impossible(raw, str(path))
    config = parse_config(raw, str(path))
    refuse_unworkable(config, str(path))
    _refuse_unreachable(config, str(path))
    return config


def _refuse_unreachable(config: StudyConfig, origin: str) -> None:
    edits = config.interventions
    try:
        refuse_unreachable(config.vision, edits.objects, edits.styles)
        refuse_names(edits.objects, "interventions.objects:")
        refuse_names(edits.styles, "interventions.styles:")
    except (VisionError, StorageError) as error:
        raise StudyError(f"{origin}: {error}") from error


def parse_config(raw: dict[str, Any], origin: str) -> StudyConfig:
    """Validate a plain mapping as YAML or JSON gives it; ``origin`` is the file named in the error.

    Strictly: true is no number, and a number in quotes is none either. Raises ``StudyError``.
    """
    try:
        return StudyConfig.model_validate_json(json.dumps(raw), strict=True)
    except ValidationError as error:
        raise StudyError(one_sentence(error, origin, StudyConfig)) from error


def _resolve_paths(raw: dict[str, Any], folder: Path) -> None:
    """Make every local path absolute; hub ids and URLs stay as they are.

    A path counts as local when it starts with a dot: ``CompVis/stable-diffusion-v1-4`` is a hub id.
    """
    for dotted in PATH_FIELDS:
        *parents, leaf = dotted.split(".")
        node: Any = raw
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if isinstance(node, dict) and isinstance(node.get(leaf), str) and node[leaf].startswith("."):
            node[leaf] = os.path.normpath(folder.resolve() / node[leaf])
