"""SAEs on disk, in the folder format that SAELens reads: ``cfg.json`` and ``sae_weights.safetensors``.

A ``TopKSAE`` is SAELens' architecture "topk", a ``ThresholdSAE`` its "jumprelu". Our concept vectors have unit norm, so
codes and reconstructions are equal in both packages whether or not one rescales by decoder norms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sae.errors import SAEError
from sae.model import SAE, ThresholdSAE, TopKSAE
from storage.atomic import write_atomic
from storage.vouch import cached_digest, digest_of_bytes

SAELENS_VERSION = "6.54.12"  # the version whose format this is; below 6.0 SAELens drops the metadata
WEIGHTS, CONFIG = "sae_weights.safetensors", "cfg.json"
TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")


def save_sae(folder: str | Path, sae: SAE, metadata: dict[str, Any]) -> None:
    """Write the folder; the configuration comes last, so a folder with one is whole."""
    folder = Path(folder)
    weights = {name: getattr(sae, name).detach().float().cpu().contiguous() for name in TENSORS}
    config: dict[str, Any] = {
        "architecture": "topk",
        "d_in": sae.d,
        "d_sae": sae.n,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": SAELENS_VERSION,
            "sae_lens_training_version": SAELENS_VERSION,
            **metadata,
        },
    }
    if isinstance(sae, ThresholdSAE):
        weights["threshold"] = sae.threshold.detach().contiguous()
        config |= {"architecture": "jumprelu"}
        config["metadata"]["k"] = sae.k
    elif isinstance(sae, TopKSAE):
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    write_atomic(folder / WEIGHTS, save(weights))
    write_atomic(folder / CONFIG, json.dumps(config, indent=1, sort_keys=True).encode())


def load_sae(folder: str | Path, digests: Mapping[str, str] | None = None) -> SAE:
    """Read an SAE of ours or of SAELens 6 (topk or jumprelu). ``digests`` maps a file's name to its SHA-256, if known.

    Weights are compared with it once for as long as they stay the same file, as tables are, and copied once.

    Raises ``SAEError`` naming the file when it is missing, damaged or not the one of the digest, lacks a tensor or a
    field, or is of an architecture or a normalisation that has no equal here.
    """
    folder = Path(folder)
    config, weights = _read_folder(folder, digests)
    return build(folder, weights, _k_of(folder, config))


def load_encoder(folder: str | Path, digests: Mapping[str, str] | None = None) -> SAE:
    """As ``load_sae``, to encode a few hundred vectors and for nothing else: its ``W_dec`` is empty.

    It takes half the memory, and a fifth of the time: what is left out is the decoder, and storing ``W_enc`` in the
    order in which products of many vectors read it fastest.
    """
    folder = Path(folder)
    config, weights = _read_folder(folder, digests)
    return build(folder, weights, _k_of(folder, config), only_encodes=True)


def _read_folder(folder: Path, digests: Mapping[str, str] | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The configuration, and tensors, mapped or made of such, that mean the same here as in SAELens.

    Raises as ``load_sae`` does.
    """
    with _told(folder, digests):
        config = json.loads(_read(folder / CONFIG, digests))
        weights = _mapped(folder / WEIGHTS, digests)
    _check_fields(folder, config)
    wanted = TENSORS + (("threshold",) if config["architecture"] == "jumprelu" else ())
    check_tensors(folder / WEIGHTS, weights, wanted)
    weights = {name: weights[name].float() for name in wanted}
    check_shapes(folder, weights)
    if not config.get("apply_b_dec_to_input", True):
        # SAELens then feeds x itself to the encoder; here b_dec is always subtracted, so its share is added back.
        weights["b_enc"] = weights["b_enc"] + weights["b_dec"] @ weights["W_enc"]
    if config.get("rescale_acts_by_decoder_norm", False):
        norm = weights["W_dec"].norm(dim=1)
        weights |= {"W_enc": weights["W_enc"] * norm, "b_enc": weights["b_enc"] * norm}
        weights["W_dec"] = weights["W_dec"] / norm[:, None]
    return config, weights


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


def _k_of(folder: Path, config: dict[str, Any]) -> int:
    """The number of latents on; of a threshold SAE it is only told, and may be unknown (0)."""
    metadata = config.get("metadata")
    k = config.get("k") or (metadata.get("k") if isinstance(metadata, dict) else None) or 0
    fits = isinstance(k, int) and not isinstance(k, bool) and (k > 0 or config["architecture"] == "jumprelu")
    if not fits or k < 0:
        raise SAEError(f"{folder / CONFIG}: k is {k!r}: make it the number of latents that may be on, 1 or more")
    return k


def load_vectors(folder: str | Path, digests: Mapping[str, str]) -> Tensor:
    """Concept vectors [M, D], float32, of an SAE that ``load_sae`` reads, and nothing else of it.

    Raises ``SAEError`` naming the file when it is missing, damaged or not the one of the digest.
    """
    return _decoder(Path(folder), digests).clone()  # no longer of the file


def products_with(folder: str | Path, digests: Mapping[str, str], cid: int) -> Tensor:
    """Of each concept's vector with that of one, [M], float32; the file is read, and nothing of it kept.

    Raises as ``load_vectors`` does.
    """
    vectors = _decoder(Path(folder), digests)
    return vectors @ vectors[cid]


def _decoder(folder: Path, digests: Mapping[str, str]) -> Tensor:
    """``W_dec``, mapped."""
    with _told(folder, digests):
        weights = _mapped(folder / WEIGHTS, digests)
    check_tensors(folder / WEIGHTS, weights, ("W_dec",))
    return weights["W_dec"].float()


def _read(file: Path, digests: Mapping[str, str] | None) -> bytes:
    """The bytes of a file; where its digest is known, the very bytes that it was compared with."""
    data = file.read_bytes()
    wanted = (digests or {}).get(file.name)
    if wanted is not None and digest_of_bytes(data) != wanted:
        raise _other_bytes(file, digests)
    return data


def _mapped(file: Path, digests: Mapping[str, str] | None) -> dict[str, Tensor]:
    """Every tensor of a file, mapped into memory: whoever keeps one copies it. Raises ``OSError``, ``SAEError``."""
    wanted = (digests or {}).get(file.name)
    if wanted is not None and cached_digest(file) != wanted:
        raise _other_bytes(file, digests)
    if not file.stat().st_size:  # which cannot be mapped
        raise ValueError(f"{file.name} is empty")
    with safe_open(file, "pt") as held:
        return {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118 - it cannot be iterated over


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


def check_tensors(file: Path, tensors: dict[str, Tensor], wanted: tuple[str, ...]) -> None:
    """Raise ``SAEError`` naming the file and what it lacks."""
    lacking = [name for name in wanted if name not in tensors]
    if lacking:
        raise SAEError(f"{file} lacks the tensors {', '.join(lacking)}: export it again")


def check_shapes(origin: Path, weights: dict[str, Tensor]) -> tuple[int, int]:
    """Channels and latents of tensors that fit together; raise ``SAEError`` for those that do not."""
    if weights["W_enc"].ndim != 2 or not weights["W_enc"].numel():
        raise SAEError(f"{origin}: W_enc is {tuple(weights['W_enc'].shape)}, not channels by latents: export it again")
    d, n = weights["W_enc"].shape
    shapes = {"W_enc": (d, n), "b_enc": (n,), "W_dec": (n, d), "b_dec": (d,), "threshold": (n,)}
    for name, tensor in weights.items():
        if tuple(tensor.shape) != shapes[name]:
            raise SAEError(f"{origin}: {name} is {tuple(tensor.shape)}, but W_enc is {(d, n)}: export it again")
    return d, n


def build(origin: Path, weights: dict[str, Tensor], k: int, only_encodes: bool = False) -> SAE:
    """An SAE from W_enc [D, M], b_enc [M], W_dec [M, D], b_dec [D] and, for one with a threshold, threshold [M].

    ``only_encodes``: as ``load_encoder`` says.
    """
    d, n = check_shapes(origin, weights)
    if only_encodes:
        weights = {**weights, "W_dec": torch.empty(0, d)}
    for name, tensor in weights.items():
        if tensor.numel() and not all(torch.isfinite(end) for end in tensor.aminmax()):  # a NaN is both
            raise SAEError(f"{origin}: {name} holds a value that is not finite: export it again")
    with torch.device("meta"):  # no zeros that are replaced at once
        sae = ThresholdSAE(d, n, k) if "threshold" in weights else TopKSAE(d, n, k)
    for name, tensor in weights.items():
        turned = name == "W_enc" and not only_encodes  # as SAE stores it
        own = tensor.float().T.contiguous().T if turned else tensor.float().clone()
        setattr(sae, name, torch.nn.Parameter(own, requires_grad=False))
    return sae.requires_grad_(False)
