"""A training run's state on disk: safetensors and JSON, atomic, no pickle.

Each SAE has its tensors in its own folder (``<folder>/checkpoint/step-<n>.safetensors``). One commit file, replaced
last, names the step and so makes all of them current at once: a kill at any moment leaves the previous checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from sae.commit import checked_tensors, commit_bytes, read_commit
from sae.curve import Curves
from sae.errors import SAEError
from sae.members import Member
from sae.step import TrainState
from storage.atomic import write_atomic
from storage.claims import confirm_present

PARAMETERS = ("W_enc", "W_dec", "b")
LOG = "log.jsonl"  # in the folder of every SAE that was trained
History = dict[Member, list[dict[str, float]]]


@dataclass(frozen=True)
class Logs:
    """What a run has told so far of each member: rows of its training log, rows of its learning curve."""

    history: History
    curves: Curves

    @classmethod
    def of(cls, members: Iterable[Member]) -> Logs:
        """Nothing yet."""
        known = list(members)
        return cls({member: [] for member in known}, {member: [] for member in known})


@dataclass(frozen=True)
class RunPaths:
    """Where a run keeps its files: the commit file, and a folder for each SAE."""

    commit: Path
    folders: Mapping[Member, Path]


@dataclass(frozen=True)
class Kept:
    """What a checkpoint holds of the run besides its states: the axes it works in, float32 [D, D], if not channels."""

    axes: Tensor | None


def save_checkpoint(
    paths: RunPaths,
    states: list[TrainState],
    logs: Logs,
    identity: dict[str, Any],
    axes: Tensor | None = None,
) -> None:
    """Write every SAE's state, commit, then remove what the commit before named.

    Raises ``ClaimLost`` if somebody else has taken the training over, who checkpoints in the same place.
    """
    confirm_present()
    step = states[0].step
    digests = {}
    for state in states:
        tensors = _tensors(state)
        for index, member in enumerate(state.stack.members):
            data = save(_part(tensors, state, index) | ({} if axes is None else {"axes": axes}))
            path = _tensor_file(paths, member, step)
            digests[_named(paths, path)] = hashlib.sha256(data).hexdigest()
            write_atomic(path, data)
    facts = {
        "identity": identity,
        "step": step,
        "history": [[paths.folders[member].name, rows] for member, rows in logs.history.items()],
        "curves": [[paths.folders[member].name, rows] for member, rows in logs.curves.items()],
        "files": digests,
    }
    write_atomic(paths.commit, commit_bytes(facts))
    for folder in paths.folders.values():
        for old in (folder / "checkpoint").glob("step-*.safetensors"):
            if old.name != f"step-{step}.safetensors":
                old.unlink()


def load_checkpoint(paths: RunPaths, states: list[TrainState], logs: Logs, identity: dict[str, Any]) -> Kept | None:
    """Fill states and logs from the last commit; None, and nothing changed, if there is none.

    The commit vouches for every tensor file, and for itself. Raises ``SAEError`` if the checkpoint is of another
    configuration or damaged.
    """
    if not paths.commit.exists():
        return None
    remedy = "run `concepts repair` on the study, which has this site trained from the start"
    try:
        facts = read_commit(paths.commit)
        step, rows = int(facts["step"]), facts["history"]
        points = facts.get("curves", [[name, []] for name, _ in rows])  # lacking: of before, when none was measured
        digests = facts.get("files")  # which checkpoints of an earlier version lack
        files = {}
        for member in paths.folders:
            path = _tensor_file(paths, member, step)
            files[member] = load(checked_tensors(path, digests and digests[_named(paths, path)]))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise SAEError(f"the checkpoint of {paths.commit.parent} is damaged ({error}): {remedy}") from error
    if facts["identity"] != json.loads(json.dumps(identity)):
        named = _difference(facts["identity"], json.loads(json.dumps(identity)))
        raise SAEError(
            f"the checkpoint {paths.commit} is of another configuration ({named}): move it away to train this site "
            "from the start"
        )
    axes = [file.pop("axes", None) for file in files.values()]
    for state in states:
        _restore(state, [files[member] for member in state.stack.members], step)
    for member, (_, kept) in zip(logs.history, rows, strict=True):
        logs.history[member] = kept
    for member, (_, kept) in zip(logs.curves, points, strict=True):
        logs.curves[member] = kept
    return Kept(axes[0])


def _named(paths: RunPaths, path: Path) -> str:
    """A tensor file as the commit names it: from the commit's own folder on."""
    return Path(os.path.relpath(path, paths.commit.parent)).as_posix()


def remove_checkpoint(paths: RunPaths) -> None:
    """Remove what a run resumes from, if it is there. The commit goes first: one without its tensors could not be read.

    What the system will not let go of stays: it is in nobody's way.
    """
    with suppress(OSError):
        paths.commit.unlink(missing_ok=True)
        for folder in paths.folders.values():
            shutil.rmtree(folder / "checkpoint", ignore_errors=True)


def _tensor_file(paths: RunPaths, member: Member, step: int) -> Path:
    return paths.folders[member] / "checkpoint" / f"step-{step}.safetensors"


def _tensors(state: TrainState) -> dict[str, Tensor]:
    """Every tensor of a stack whose first axis is (or, for the bias, counts) its SAEs."""
    tensors = {"since_fired": state.since_fired}
    for name, parameter in zip(PARAMETERS, state.stack.parameters(), strict=True):
        tensors[name] = parameter.detach()
        moments = state.optimizer.state.get(parameter, {})
        tensors |= {f"{name}.{key}": value for key, value in moments.items() if key != "step"}
    return tensors


def _part(tensors: dict[str, Tensor], state: TrainState, index: int) -> dict[str, Tensor]:
    stacked = len(state.stack)
    parts = {}
    for name, tensor in tensors.items():
        size = len(tensor) // stacked
        parts[name] = tensor[index * size : (index + 1) * size].cpu().contiguous()
    return parts | {"dead": state.dead[index].cpu()}


def _restore(state: TrainState, files: list[dict[str, Tensor]], step: int) -> None:
    device = state.since_fired.device
    whole = {name: torch.cat([file[name] for file in files]).to(device) for name in files[0] if name != "dead"}
    state.step, state.since_fired = step, whole["since_fired"]
    state.dead = [file["dead"].to(device) for file in files]
    with torch.no_grad():
        for name, parameter in zip(PARAMETERS, state.stack.parameters(), strict=True):
            parameter.copy_(whole[name])
            state.optimizer.state[parameter] = {
                "step": torch.tensor(float(step), device=device),
                "exp_avg": whole[f"{name}.exp_avg"],
                "exp_avg_sq": whole[f"{name}.exp_avg_sq"],
            }


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    return "; ".join(f"{name}: then {old.get(name)}, now {new.get(name)}" for name in names)


def write_log(path: Path, rows: Iterable[dict[str, float]]) -> None:
    """The training log: one JSON object a line."""
    write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
