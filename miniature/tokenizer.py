"""A real CLIPTokenizer over the world's words: each is one token, any other text falls back to characters."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

from miniature import captions, settings
from miniature.painters import COLOURS
from miniature.world import PARENTS

MAX_TOKENS = 32  # the longest caption of the world has 28; every step of sampling attends to all of them
BOS, EOS = "<|startoftext|>", "<|endoftext|>"


def world_words() -> list[str]:
    """Every word a caption can hold, plus the style names and a few function words."""
    phrases = [*settings.OBJECTS, *settings.GROUNDS, *COLOURS, *settings.STYLES, *settings.SKIES, *PARENTS.values()]
    phrases += [p for group in (captions.LOOK_OPENINGS, captions.GROUND_PHRASES) for v in group.values() for p in v]
    phrases += [*captions.PLAIN_OPENINGS, *captions.RELATIONS, "sky", ",", "and"]
    return sorted({word for phrase in phrases for word in phrase.split()})


def byte_alphabet() -> list[str]:
    """CLIP's 256 printable stand-ins for the bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [256 + i for i in range(256 - len(printable))]
    return [chr(c) for c in printable + others]


def learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent pair first, until every word is one token.

    Encoding replays the merges in the order they were learned, so each of ``words`` ends as a single token.
    """
    pieces = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges: list[tuple[str, str]] = []
    while any(len(p) > 1 for p in pieces.values()):
        counts = Counter(pair for p in pieces.values() for pair in pairwise(p))
        best = max(sorted(counts), key=lambda pair: counts[pair])
        merges.append(best)
        pieces = {word: _merge(p, best) for word, p in pieces.items()}
    return merges


def _merge(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def write_tokenizer(folder: Path) -> CLIPTokenizer:
    """Write vocab.json and merges.txt, and return the tokenizer loaded from them."""
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = byte_alphabet()
    vocabulary = alphabet + [c + "</w>" for c in alphabet]
    merges = learn_merges(world_words())
    vocabulary += ["".join(pair) for pair in merges]
    vocabulary = list(dict.fromkeys([*vocabulary, BOS, EOS]))
    (folder / "vocab.json").write_text(
        json.dumps({token: i for i, token in enumerate(vocabulary)}, ensure_ascii=False), encoding="utf-8"
    )
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=MAX_TOKENS)
