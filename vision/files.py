"""Which files of a vision model's folder are loaded, told without loading them or any library that could."""

from __future__ import annotations

import json
from pathlib import Path

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
OTHERS = (
    *("config.json", "preprocessor_config.json", "processor_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "spiece.model", "tokenizer.model"),
)


def loaded_files(path: str) -> dict[str, Path]:
    """Name -> file, of every file that the loaders read from a folder; empty for a hub id.

    That is configurations, tokenizers and weights as safetensors; nothing else that may lie there is identity.
    """
    folder = Path(path)
    if not folder.is_dir():
        return {}
    names = [*OTHERS, SINGLE] if (folder / SINGLE).is_file() else [*OTHERS, INDEX, *_shards(folder / INDEX)]
    return {name: folder / name for name in names if (folder / name).is_file()}


def _shards(index: Path) -> list[str]:
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return []  # its reader says so
