"""Whether a caption names a label."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable

# Thai, Lao, Khmer, kana and Chinese characters are written without spaces: a label is found anywhere in them.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


@functools.lru_cache(maxsize=65536)
def _pattern(label: str) -> re.Pattern[str]:
    word = re.escape(_folded(label))
    if _UNSPACED.search(label):
        return re.compile(word)
    return re.compile(rf"(?<!\w){word}(e?s)?(?!\w)")


def mentions(caption: str, label: str) -> bool:
    """Whether the caption has the label as words of its own, in singular or plural, whatever the case."""
    return _pattern(label).search(_folded(caption)) is not None


def mentions_at(caption: str, label: str) -> tuple[str, list[tuple[int, int]]]:
    """The caption as it is searched (lower case, NFKC), and [start, stop) of every mention of the label in it."""
    folded = _folded(caption)
    return folded, [found.span() for found in _pattern(label).finditer(folded)]


def mentioned(caption: str, labels: Iterable[str]) -> list[str]:
    """The labels that the caption mentions, in their order: the same as asking each, and fast for many."""
    folded = _folded(caption)
    return [label for label in labels if _folded_label(label) in folded and mentions(caption, label)]


@functools.lru_cache(maxsize=65536)
def _folded_label(label: str) -> str:
    return _folded(label)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower()
