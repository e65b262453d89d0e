"""The folder that holds an SAE, in the format that SAELens reads: ``cfg.json`` and ``sae_weights.safetensors``.

Whoever only encodes a few vectors reads it as NumPy arrays (``sae/encoder.py``), whoever trains or decodes as tensors
(``sae/io.py``): what is written here holds for both, and imports nothing heavy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from sae.errors import SAEError
from storage.vouch import cached_digest, digest_of_bytes

WEIGHTS, CONFIG = "sae_weights.safetensors", "cfg.json"
TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")
TORCH, NUMPY = "torch", "numpy"  # whose arrays are read
FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}  # of safetensors, as NumPy calls them
Arrays = dict[str, Any]  # of either


def read_folder(
    folder: Path, digests: Mapping[str, str] | None, of: str, decodes: bool = True
) -> tuple[dict[str, Any], Arrays]:
    """The configuration, and float32 arrays that mean the same here as in SAELens; ``of`` is TORCH or NUMPY.

    Arrays may be mapped: whoever keeps one copies it, since to read one whose file was cut short meanwhile ends the
    process. Without ``W_dec`` for who never decodes. ``digests`` maps a file's name to its SHA-256, if known. Raises
    ``SAEError`` naming the file when it is missing, damaged or not the one of the digest, lacks a tensor or a field, or
    is of an architecture or a normalisation that has no equal here.
    """
    with _told(folder, digests):
        config = json.loads(_read(folder / CONFIG, digests))
    _check_fields(folder, config)
    rescale = config.get("rescale_acts_by_decoder_norm", False)
    wanted = tuple(name for name in TENSORS if decodes or rescale or name != "W_dec")
    wanted += ("threshold",) if config["architecture"] == "jumprelu" else ()
    weights = read_arrays(folder, digests, of, wanted)
    check_shapes(folder, weights)
    if not config.get("apply_b_dec_to_input", True):
        # SAELens then feeds x itself to the encoder; here b_dec is always subtracted, so its share is added back.
        weights["b_enc"] = weights["b_enc"] + weights["b_dec"] @ weights["W_enc"]
    if rescale:
        norm = (weights["W_dec"] ** 2).sum(1) ** 0.5
        weights |= {"W_enc": weights["W_enc"] * norm, "b_enc": weights["b_enc"] * norm}
        weights["W_dec"] = weights["W_dec"] / norm[:, None]
    return config, weights


def read_arrays(folder: Path, digests: Mapping[str, str] | None, of: str, wanted: tuple[str, ...]) -> Arrays:
    """Some arrays of a folder, float32. Raises as ``read_folder`` does."""
    with _told(folder, digests):
        weights = _arrays(folder / WEIGHTS, digests, of, wanted)
    check_tensors(folder / WEIGHTS, weights, wanted)
    if of == TORCH:
        return {name: weights[name].float() for name in wanted}
    return {name: weights[name].astype(np.float32, copy=False) for name in wanted}


def k_of(folder: Path, config: dict[str, Any]) -> int:
    """The number of latents on; of a threshold SAE it is only told, and may be unknown (0)."""
    metadata = config.get("metadata")
    k = config.get("k") or (metadata.get("k") if isinstance(metadata, dict) else None) or 0
    fits = isinstance(k, int) and not isinstance(k, bool) and (k > 0 or config["architecture"] == "jumprelu")
    if not fits or k < 0:
        raise SAEError(f"{folder / CONFIG}: k is {k!r}: make it the number of latents that may be on, 1 or more")
    return k


@contextmanager
def _told(folder: Path, digests: Mapping[str, str] | None) -> Iterator[None]:
    """Raises ``SAEError`` for what is wrong with the files of a folder."""
    try:
        yield
    except FileNotFoundError as error:
        lost, remedy = error.filename or "a file", _remedy(digests) if digests else "run `concepts train`"
        raise SAEError(f"{folder} holds no SAE ({lost} is missing): {remedy}") from error
    except SAEError:  # which is a ValueError
        raise
    except (ValueError, OSError, SafetensorError) as error:
        raise SAEError(f"{folder}: the SAE's files are damaged ({error}): {_remedy(digests)}") from error


def _read(file: Path, digests: Mapping[str, str] | None) -> bytes:
    """The bytes of a file; where its digest is known, the very bytes that it was compared with."""
    data = file.read_bytes()
    wanted = (digests or {}).get(file.name)
    if wanted is not None and digest_of_bytes(data) != wanted:
        raise _other_bytes(file, digests)
    return data


def _arrays(file: Path, digests: Mapping[str, str] | None, of: str, wanted: tuple[str, ...]) -> Arrays:
    """Those arrays of a file that there are. Raises ``OSError``, ``SAEError``."""
    sha256 = (digests or {}).get(file.name)
    if sha256 is not None and cached_digest(file) != sha256:
        raise _other_bytes(file, digests)
    if not file.stat().st_size:  # which cannot be mapped
        raise ValueError(f"{file.name} is empty")
    if of == NUMPY:
        return _mapped(file, wanted)
    with safe_open(file, "pt") as held:
        return {name: held.get_tensor(name) for name in held.keys() if name in wanted}  # noqa: SIM118 - no iterator


def _mapped(file: Path, wanted: tuple[str, ...]) -> Arrays:
    """The same as NumPy arrays. safetensors' own copy every byte, which takes seven times as long as one product."""
    with file.open("rb") as held:
        size = int.from_bytes(held.read(8), "little")
        if size > file.stat().st_size:
            raise ValueError("its header is cut off")
        told = json.loads(held.read(size))
    arrays = {}
    for name in (name for name in wanted if name in told):
        dtype, shape, (first, _) = (told[name][field] for field in ("dtype", "shape", "data_offsets"))
        if dtype not in FLOATS:
            raise ValueError(f"{name} is stored as {dtype}, not as one of {', '.join(FLOATS)}")
        mapped = np.memmap(file, FLOATS[dtype], "r", 8 + size + first, tuple(shape))
        arrays[name] = mapped.view(np.ndarray)
    return arrays


def _other_bytes(file: Path, digests: Mapping[str, str] | None) -> SAEError:
    return SAEError(f"{file} is damaged (its checksum is not the recorded one): {_remedy(digests)}")


def _remedy(digests: Mapping[str, str] | None) -> str:
    if digests is None:
        return "give the folder of a whole SAE"
    return "run `concepts repair` on the study, then run it again"


def _check_fields(folder: Path, config: dict[str, Any]) -> None:
    file = folder / CONFIG
    if not isinstance(config, dict) or config.get("architecture") not in ("topk", "jumprelu"):
        architecture = config.get("architecture") if isinstance(config, dict) else config
        raise SAEError(
            f"{file}: architecture {architecture!r} cannot be read: save it for inference as topk or jumprelu"
        )
    if config["architecture"] == "topk" and not isinstance(config.get("k"), int):
        raise SAEError(f"{file} lacks the field k: add the number of latents that may be on")
    for name in ("normalize_activations", "reshape_activations"):
        if config.get(name, "none") not in ("none", None):
            raise SAEError(f"{file}: {name} is {config[name]!r}: fold it into the weights and set it to 'none'")


def check_tensors(file: Path, tensors: Arrays, wanted: tuple[str, ...]) -> None:
    """Raise ``SAEError`` naming the file and what it lacks."""
    lacking = [name for name in wanted if name not in tensors]
    if lacking:
        raise SAEError(f"{file} lacks the tensors {', '.join(lacking)}: export it again")


def check_shapes(origin: Path, weights: Arrays) -> tuple[int, int]:
    """Channels and latents of tensors that fit together; raise ``SAEError`` for those that do not."""
    if weights["W_enc"].ndim != 2 or 0 in weights["W_enc"].shape:
        raise SAEError(f"{origin}: W_enc is {tuple(weights['W_enc'].shape)}, not channels by latents: export it again")
    d, n = weights["W_enc"].shape
    shapes = {"W_enc": (d, n), "b_enc": (n,), "W_dec": (n, d), "b_dec": (d,), "threshold": (n,)}
    for name, tensor in weights.items():
        if tuple(tensor.shape) != shapes[name]:
            raise SAEError(f"{origin}: {name} is {tuple(tensor.shape)}, but W_enc is {(d, n)}: export it again")
    return d, n
