"""Training checkpoints: safetensors and JSON, replaced atomically, no pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


class TrainingError(ValueError):
    """A training run that cannot go on as asked; the message names the folder and the remedy."""


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Adam's state as a flat dict of tensors, in the order of the optimiser's parameters."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{i}.{name}": value for i, values in state.items() for name, value in values.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Inverse of ``flatten_optimizer``."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
    full = optimizer.state_dict()
    full["state"] = state
    optimizer.load_state_dict(full)


def save_checkpoint(folder: Path, tensors: dict[str, torch.Tensor], facts: dict[str, object]) -> None:
    """Write tensors and facts as one atomic step: the JSON names the tensor file and is replaced last."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"step-{facts['step']}.safetensors"
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, folder / (name + ".tmp"))
    (folder / (name + ".tmp")).replace(folder / name)
    (folder / "latest.json.tmp").write_text(json.dumps({**facts, "file": name}), encoding="utf-8")
    (folder / "latest.json.tmp").replace(folder / "latest.json")
    for old in folder.glob("step-*.safetensors"):
        if old.name != name:
            old.unlink()


def load_checkpoint(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, object]] | None:
    """The latest checkpoint, or None when there is none yet."""
    latest = folder / "latest.json"
    if not latest.exists():
        return None
    facts = json.loads(latest.read_text(encoding="utf-8"))
    return load_file(folder / facts["file"]), facts


def check_settings(facts: dict[str, object], settings: Mapping[str, object], folder: Path) -> None:
    """Refuse to resume a run that was started under other settings."""
    differing = {k: (facts.get(k), v) for k, v in settings.items() if facts.get(k) != v}
    if differing:
        raise TrainingError(
            f"{folder} holds a run with other settings {differing} (old, new): choose another --work folder"
        )


def digest(module: torch.nn.Module) -> str:
    """Twelve hex digits that tell two sets of weights apart."""
    total = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        total.update(name.encode() + value.detach().float().numpy().tobytes())
    return total.hexdigest()[:12]
