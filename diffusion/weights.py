"""The weight files of a model's part: which are there, what their headers say, and loading them whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from diffusion.digest import DIFFUSERS
from diffusion.errors import DiffusionError

SUFFIXES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".onnx", ".h5")
FLOATS = ("F64", "F32", "F16", "BF16")
LFS = b"version https://git-lfs"
# Buffers of older releases, which are computed now, and the head that Stable Diffusion's text encoder has no use for.
HARMLESS = ("position_ids", "text_projection.weight")
NAMED = 3


def check_weights(folder: Path, stem: str) -> None:
    """Raise ``DiffusionError`` unless a part's weight files are there, whole and, if sharded, as their index says.

    The files are ``<stem>.safetensors``, or the shards that its index names. Diffusers looks for the index first,
    transformers for the single file.
    """
    single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if single.is_file() and (stem != DIFFUSERS or not index.is_file()):
        tensors_of(single)
    elif index.is_file():
        _check_shards(folder, index)
    else:
        raise DiffusionError(f"{folder} has no {single.name}{_instead(folder, single.name)}")


def _check_shards(folder: Path, index: Path) -> None:
    places = _places(index)
    shards = sorted(set(places.values()))
    absent = [name for name in shards if not (folder / name).is_file()]
    if absent:
        raise DiffusionError(
            f"{index.name} in {folder} names {len(shards)} files, of which {_some(absent)} "
            f"{'is' if len(absent) == 1 else 'are'} missing: fetch the whole folder again"
        )
    stored = {tensor: name for name in shards for tensor in tensors_of(folder / name)}
    # A tensor that the index promises and no shard holds would stay as memory happened to be.
    if other := sorted(name for name in {*places, *stored} if places.get(name) != stored.get(name)):
        raise DiffusionError(
            f"{index} and its {len(shards)} files do not agree where {_some(other)} is: fetch the whole folder again"
        )


def _places(index: Path) -> dict[str, str]:
    """Tensor -> name of the file that holds it."""
    try:
        places = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    except (ValueError, LookupError, TypeError) as error:
        raise DiffusionError(f"{index} is damaged ({error}): fetch the folder again") from error
    if not places or any(not isinstance(name, str) or Path(name).name != name for name in places.values()):
        raise DiffusionError(f"{index} is damaged (weight_map must name files beside it): fetch the folder again")
    return places


def _instead(folder: Path, wanted: str) -> str:
    there = sorted(f.name for f in folder.iterdir() if f.name.endswith(SUFFIXES))
    variants = [name for name in there if name.endswith(".safetensors")]
    if variants:
        return f"; there is {_some(there)}: copy {variants[0]} to {wanted} to study those weights"
    if there:
        return (
            f"; there is {_some(there)}, and only safetensors are read, for such files can run code: convert them with "
            "diffusers (load the pipeline with use_safetensors=False, then save_pretrained) or fetch the safetensors"
        )
    return " and no other weight file: fetch the whole folder again"


def tensors_of(file: Path) -> list[str]:
    """Names of the tensors of a safetensors file, from its header.

    Raises ``DiffusionError`` if the file is not whole, or a tensor in it does not hold plain floats.
    """
    try:
        with safe_open(file, "np") as opened:
            dtypes = {name: opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError, ValueError) as error:
        with file.open("rb") as raw:
            pointer = raw.read(len(LFS)) == LFS
        if pointer:
            raise DiffusionError(f"{file} is a Git LFS pointer, not the weights: run `git lfs pull` there") from error
        raise DiffusionError(f"{file} is not a whole safetensors file ({error}): fetch it again") from error
    odd = [name for name, dtype in dtypes.items() if dtype not in FLOATS and not name.endswith(HARMLESS)]
    if odd:
        raise DiffusionError(
            f"{file}: {_some(odd)} is stored as {dtypes[odd[0]]}, of which only a quantiser knows the scale: give "
            f"weights in {', '.join(FLOATS)}"
        )
    return list(dtypes)


def load_part(model_class: Any, path: str, part: str, **given: Any) -> Any:
    """A module with exactly the weights that its config asks for, all finite.

    Raises ``DiffusionError`` naming the tensors that are missing, left over, of another shape or not finite.
    """
    module, info = model_class.from_pretrained(
        path,
        subfolder=part,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused below, by name
        **given,
    )
    where = f"the weights of {part} in {path}"
    if mismatched := sorted(tuple(map(_plain, found)) for found in info["mismatched_keys"]):
        name, stored, asked = mismatched[0]
        raise DiffusionError(
            f"{where} do not fit {part}/config.json: {name} is {stored} and should be {asked}"
            f"{_more(mismatched)}: the two files are not of one model, fetch both again"
        )
    if missing := sorted(info["missing_keys"]):
        raise DiffusionError(
            f"{where} lack {_some(missing)}, which {part}/config.json asks for: fetch the whole folder again"
        )
    if extra := sorted(name for name in info["unexpected_keys"] if not name.endswith(HARMLESS)):
        raise DiffusionError(
            f"{where} hold {_some(extra)}, which {part}/config.json has no place for: the two files are not of one "
            "model, fetch both again"
        )
    refuse_not_finite(module.state_dict().items(), where)
    return module


def refuse_not_finite(tensors: Iterable[tuple[str, torch.Tensor]], where: str) -> None:
    """Raise ``DiffusionError`` naming the tensors that hold NaN or infinities."""
    bad = [name for name, tensor in tensors if not is_finite(tensor)]
    if bad:
        raise DiffusionError(
            f"{where} hold values that are not finite in {_some(bad)}: fetch the file again, or set model.dtype to "
            "float32 if it was made in a wider type"
        )


def is_finite(tensor: torch.Tensor) -> bool:
    """By the extremes, NaN if any value is: twenty times as fast as ``isfinite`` (``benchmarks/by_hand.py``)."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return all(bool(torch.isfinite(extreme)) for extreme in tensor.aminmax())


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else list(value)


def _some(names: list[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _more(found: list[Any]) -> str:
    return f" (and {len(found) - 1} more)" if len(found) > 1 else ""
