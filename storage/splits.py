"""Splits decided by the caption itself: shares of all captions there could be, so that adding some never moves one.

The paper's splits are counts, dealt in the order of the source: a file more and every prompt behind it would move. Here
a caption's split is a function of its own words and the shares, whatever else the source holds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

WHOLE = 2.0**64  # number of values that a caption's place can have


def folded(caption: str) -> str:
    """The caption as splits and seeds know it: in lower case, its words one space apart."""
    return " ".join(caption.lower().split())


def place_of(caption: str) -> float:
    """Where in [0, 1) the words of a caption lie: its BLAKE2b hash, evenly spread."""
    return int.from_bytes(hashlib.blake2b(folded(caption).encode(), digest_size=8).digest(), "big") / WHOLE


def split_of(caption: str, shares: Mapping[str, float]) -> str:
    """The split of a caption, where ``shares`` (in their order, together 1) are laid end to end over [0, 1)."""
    place, end = place_of(caption), 0.0
    for name, share in shares.items():
        end += share
        if place < end:
            return name
    return name  # sums of shares round


def refuse_no_shares(shares: Mapping[str, float]) -> None:
    """Raise ``ValueError`` for numbers that are no shares of one whole."""
    bad = {name: share for name, share in shares.items() if not 0 < share < 1}
    if bad:
        raise ValueError(
            f"prompts.split_by is 'caption', so prompts.splits are shares of the captions, each between 0 and 1, got "
            f"{bad}: give shares such as {{train: 0.7, dictionary: 0.15, layout: 0.1, style: 0.05}}, or split by order"
        )
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        raise ValueError(
            f"prompts.splits are shares of the captions and have to make 1 together, got {sum(shares.values()):g}"
        )
