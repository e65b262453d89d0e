"""A training run's state on disk: safetensors and JSON, atomic, no pickle."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sae.errors import SAEError
from sae.model import TopKSAE
from sae.settings import SAESettings


@dataclass
class TrainState:
    """Everything a step reads and changes. ``since_fired`` [M] int64 counts vectors."""

    sae: TopKSAE
    optimizer: torch.optim.Adam
    since_fired: Tensor
    step: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)

    @classmethod
    def fresh(cls, sae: TopKSAE, settings: SAESettings) -> TrainState:
        """State before the first step."""
        optimizer = torch.optim.Adam(sae.parameters(), lr=settings.lr, eps=settings.adam_eps)
        return cls(sae, optimizer, torch.zeros(sae.n, dtype=torch.int64))


def save_state(folder: Path, state: TrainState, identity: dict[str, object]) -> None:
    """Write the state. The JSON, replaced last, names the tensor file: a kill leaves the previous checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"sae.{name}": value.detach() for name, value in state.sae.named_parameters()}
    tensors["since_fired"] = state.since_fired
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": torch.as_tensor(value) for name, value in values.items()}
    name = f"step-{state.step}.safetensors"
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, folder / f"{name}.tmp")
    os.replace(folder / f"{name}.tmp", folder / name)
    facts = {"identity": identity, "step": state.step, "history": state.history, "file": name}
    (folder / "latest.json.tmp").write_text(json.dumps(facts))
    os.replace(folder / "latest.json.tmp", folder / "latest.json")
    for old in folder.glob("step-*.safetensors"):
        if old.name != name:
            old.unlink()


def load_state(folder: Path, state: TrainState, identity: dict[str, object]) -> None:
    """Fill ``state`` from the folder if it has a checkpoint; a fresh state stays as it is otherwise.

    Raises ``SAEError`` if the checkpoint is of another configuration or damaged.
    """
    latest = folder / "latest.json"
    if not latest.exists():
        return
    try:
        facts = json.loads(latest.read_text())
        tensors = load_file(folder / facts["file"])
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise SAEError(f"the checkpoint {folder} is damaged: delete that folder to train from the start") from error
    if facts["identity"] != json.loads(json.dumps(identity)):
        raise SAEError(f"the checkpoint {folder} is of another configuration: delete that folder or use another --root")
    with torch.no_grad():
        for name, parameter in state.sae.named_parameters():
            parameter.copy_(tensors[f"sae.{name}"])
    adam: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("adam."):
            _, index, name = key.split(".")
            adam.setdefault(int(index), {})[name] = value
    full = state.optimizer.state_dict()
    full["state"] = adam
    state.optimizer.load_state_dict(full)
    state.since_fired = tensors["since_fired"]
    state.step = facts["step"]
    state.history = [(int(s), float(v)) for s, v in facts["history"]]
