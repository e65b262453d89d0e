"""The weights of a vision model: those that its config asks for and no others, and every value a number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from vision.errors import VisionError
from vision.files import INDEX, SINGLE

SUFFIXES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".onnx", ".h5")
# Buffers that earlier releases stored and later ones compute.
HARMLESS = ("position_ids", "num_batches_tracked", "inv_freq", "relative_position_index")
NAMED = 3


def check_files(name: str, path: str) -> None:
    """Raise ``VisionError`` for a local folder without safetensors weights, saying what is there. A hub id passes."""
    folder = Path(path)
    if not path.startswith((".", "/")) and not folder.is_dir():
        return
    if not folder.is_dir():
        raise VisionError(f"{name} cannot be loaded, there is no such folder: give a whole folder or a hub id")
    if not (folder / "config.json").is_file():
        raise VisionError(f"{name} cannot be loaded, {folder} has no config.json: fetch the whole folder again")
    if (folder / SINGLE).is_file() or (folder / INDEX).is_file():
        return
    there = sorted(f.name for f in folder.iterdir() if f.name.endswith(SUFFIXES))
    variants = [file for file in there if file.endswith(".safetensors")]
    if variants:
        remedy = f"copy {variants[0]} to {SINGLE} to use those weights"
    elif there:
        remedy = "only safetensors are read, for such files can run code: fetch the safetensors, or save them anew"
    else:
        remedy = "fetch the whole folder again"
    raise VisionError(f"{name} has no {SINGLE} (weights there: {_some(there) or 'none'}): {remedy}")


def refuse_other_tensors(name: str, info: Mapping[str, Any]) -> None:
    """Raise ``VisionError`` for what transformers' loading info says is missing, left over or of another shape."""
    if mismatched := sorted(str(found[0]) for found in info["mismatched_keys"]):
        raise VisionError(
            f"{name}: {_some(mismatched)} in the weights have another shape than config.json says: the two files are "
            "not of one model, fetch both again"
        )
    if missing := sorted(info["missing_keys"]):
        raise VisionError(f"{name}: the weights lack {_some(missing)}, which config.json asks for: fetch them anew")
    if extra := sorted(key for key in info["unexpected_keys"] if not key.endswith(HARMLESS)):
        raise VisionError(
            f"{name}: the weights hold {_some(extra)}, which config.json has no place for: the two files are not of "
            "one model, fetch both again"
        )


def refuse_not_finite(name: str, tensors: Iterable[tuple[str, torch.Tensor]], remedy: str) -> None:
    """Raise ``VisionError`` naming the tensors that hold NaN or infinities."""
    bad = [key for key, tensor in tensors if not is_finite(tensor)]
    if bad:
        raise VisionError(f"{name}: the weights hold values that are not finite in {_some(bad)}: {remedy}")


def is_finite(tensor: torch.Tensor) -> bool:
    """By the extremes, NaN if any value is: twenty times as fast as ``isfinite`` (``benchmarks/by_hand.py``)."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return all(bool(torch.isfinite(extreme)) for extreme in tensor.aminmax())


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
