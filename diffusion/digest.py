"""Which files of a model's folder are loaded, told without loading them or any library that could."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from diffusion.errors import DiffusionError
from diffusion.manifest import NAME, check_manifest

DIFFUSERS, TRANSFORMERS = "diffusion_pytorch_model", "model"  # how the two libraries call weights
WEIGHTS = {"unet": DIFFUSERS, "vae": DIFFUSERS, "text_encoder": TRANSFORMERS}
OTHERS = {
    "unet": ("config.json",),
    "vae": ("config.json",),
    "text_encoder": ("config.json",),
    "tokenizer": (
        *("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"),
        *("special_tokens_map.json", "added_tokens.json"),
    ),
    "scheduler": ("scheduler_config.json",),
}


def is_local(path: str) -> bool:
    """Whether ``model.path`` is a folder on this machine rather than a hub id."""
    return path.startswith((".", "/", "~")) or Path(path).is_dir()


def check_path(path: str) -> None:
    """Raise ``DiffusionError`` for a local path that is no folder, or whose files are not its manifest's."""
    if not path or "://" in path:
        raise DiffusionError(f"model.path {path!r} is no model: give a diffusers folder or a hub id (owner/name)")
    if not is_local(path):
        return
    if Path(path).is_file():
        raise DiffusionError(
            f"model.path {path} is a single file: make a folder of it with diffusers "
            "(StableDiffusionPipeline.from_single_file, then save_pretrained) and give that"
        )
    if not Path(path).is_dir():
        raise DiffusionError(f"model.path {path} is not a folder: give a diffusers folder or a hub id")
    check_manifest(Path(path))


def loaded_files(path: str) -> dict[str, Path]:
    """Name below the folder -> file, of every file that ``load_model`` reads; empty for a hub id.

    A README, a hidden file, weights in another format or of a variant are not among them. Raises ``DiffusionError`` as
    ``check_path`` does.
    """
    check_path(path)
    folder = Path(path)
    if not folder.is_dir():
        return {}
    names = [f"{part}/{name}" for part, others in OTHERS.items() for name in others]
    names += [name for part, stem in WEIGHTS.items() for name in _weights(folder, part, stem)]
    return {name: folder / name for name in names if (folder / name).is_file()}


def _weights(folder: Path, part: str, stem: str) -> Iterator[str]:
    """The weight file or the shards that an index names. Diffusers looks for the index first, transformers last."""
    single, index = f"{part}/{stem}.safetensors", f"{part}/{stem}.safetensors.index.json"
    order = (index, single) if stem == DIFFUSERS else (single, index)
    first = next((name for name in order if (folder / name).is_file()), None)
    if first is not None:
        yield first
    if first == index:
        yield from (f"{part}/{shard}" for shard in shards_of_index(folder / index))


def shards_of_index(path: Path) -> list[str]:
    """The files that an index of sharded weights names; none if it is damaged, which its reader will say."""
    try:
        return sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return []


def former_digests(path: str) -> set[str]:
    """The digests that studies of the first format may carry for a folder's weights.

    They were taken over every file of the folder, small ones by content and larger ones by size. What has come to lie
    there since says nothing of the model, so the folder is also taken without hidden files, and with those alone that
    are loaded or list them.
    """
    folder = Path(path)
    if not folder.is_dir():
        return set()
    everything = sorted(p for p in folder.rglob("*") if p.is_file())
    seen = [p for p in everything if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    known = {*loaded_files(path).values(), folder / NAME, folder / "model_index.json"}
    return {_former(folder, files) for files in (everything, seen, [p for p in everything if p in known])}


def _former(folder: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(json.dumps([str(file.relative_to(folder)), size]).encode())
        if size <= 64 << 20:
            digest.update(file.read_bytes())
    return f"sha256:{digest.hexdigest()[:16]}"
