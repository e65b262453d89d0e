"""One study's configuration: the YAML file, its fields and how it is read.

The settings of each room are declared in that room; this module composes them and adds what only the whole
study knows (sites, seed, execution). ``load_config`` turns a YAML file plus ``a.b=value`` overrides into a
frozen ``StudyConfig`` or into one sentence that names the offending key.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from concepts.settings import InterventionSettings, LabelSettings, LayoutSettings
from diffusion.settings import ModelSettings, SamplingSettings
from diffusion.times import step_of_time
from sae.settings import SAESettings
from storage.prompts import PromptSettings
from tasks.errors import StudyError
from vision.settings import VisionSettings

PATH_FIELDS = (
    "model.path",
    "prompts.source",
    "vision.mini.path",
    "vision.mini.second_path",
    "vision.vocabulary_file",
    "vision.transformers.detector",
    "vision.transformers.segmenter",
    "vision.transformers.clip",
    "vision.transformers.judge_clipseg",
    "vision.transformers.judge_clip",
    "vision.transformers.second_opinion",
    "labels.word2vec_path",
    "labels.hierarchy",
)

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
    """How the work is executed. Nothing here changes a result, so a study may be resumed under other values."""

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
    dask_address: str | None = Field(
        None, description="Address of a running Dask scheduler; empty starts a local cluster of max_workers processes."
    )
    torch_threads: int | None = Field(
        None, ge=1, description="Threads of one torch operation; empty leaves torch's default (all cores)."
    )
    tensorboard: bool = Field(
        False, description="Also write training curves for TensorBoard, below the study folder's tensorboard/."
    )
    retries: int = Field(2, ge=0, description="Times a failed task is tried again before the flow fails.")
    retry_delay: float = Field(5.0, ge=0, description="Seconds before the first retry; doubles after each.")


class StudyConfig(BaseModel):
    """A whole study. Two runs with equal values (``run`` aside) on one machine give equal tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Name of the study, used for Prefect run names and tags.")
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
    run: RunSettings = RunSettings()

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        missing = {"train", "dictionary", "layout", "style"} - set(self.prompts.splits)
        if missing:
            raise ValueError(f"prompts.splits lacks {sorted(missing)}: each of the four splits needs a size")
        block = self.interventions.block
        if block not in self.sites.blocks:
            raise ValueError(
                f"interventions.block is {block!r}, which sites.blocks does not name ({sorted(self.sites.blocks)})"
            )
        if "cond" not in self.sites.conditionings:
            raise ValueError("interventions edit the cond branch: sites.conditionings must include 'cond'")
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

    def sites_list(self) -> list[tuple[str, float, str]]:
        """Every site, in the order block, timestep, conditioning of the configuration."""
        s = self.sites
        return [(b, t, c) for b in s.blocks for t in s.times for c in s.conditionings]


def load_config(path: str | Path, overrides: tuple[str, ...] | list[str] = ()) -> StudyConfig:
    """Read a study's YAML file. Relative paths in it are relative to the file itself.

    ``overrides`` are ``dotted.key=value`` strings whose values are YAML. Raises ``StudyError``.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise StudyError(
            f"no configuration file {path}: give the path of a YAML file such as configs/mini.yaml"
        ) from error
    except OSError as error:
        raise StudyError(f"{path} cannot be read ({error.strerror}): give the path of a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is not valid YAML ({' '.join(str(error).split())}): mend that line") from error
    if not isinstance(raw, dict):
        raise StudyError(f"{path} must hold a mapping of settings at its top level, not {type(raw).__name__}")
    _resolve_paths(raw, path.parent)
    for override in overrides:
        _apply_override(raw, override)
    return parse_config(raw, str(path))


def parse_config(raw: dict[str, Any], origin: str) -> StudyConfig:
    """Validate a plain mapping; ``origin`` is the file named in the error."""
    try:
        return StudyConfig.model_validate(raw)
    except ValidationError as error:
        raise StudyError(_one_sentence(error, origin)) from error


def _apply_override(raw: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise StudyError(f"--set {override!r} is not of the form key.sub=value")
    *parents, leaf = key.split(".")
    node = raw
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise StudyError(f"--set {key}: {parent!r} holds a value, not a group of settings")
    node[leaf] = yaml.safe_load(value)


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


def _one_sentence(error: ValidationError, origin: str) -> str:
    """The first problem of a validation, in one sentence with the key and, if misspelt, its nearest neighbour."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        valid = _valid_keys(first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), valid, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"valid keys here: {', '.join(valid)}"
        return f"{origin}: unknown key {key!r}; {hint}{more}"
    if first["type"] == "missing":
        return f"{origin}: {key!r} is missing: add it{more}"
    if first["type"] == "value_error":
        return f"{origin}: {str(first['ctx']['error'])}{more}"
    return f"{origin}: {key!r} is {first['input']!r}: {first['msg'][0].lower() + first['msg'][1:]}{more}"


def _valid_keys(location: tuple[Any, ...]) -> list[str]:
    model: Any = StudyConfig
    for part in location:
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return sorted(model.model_fields)
