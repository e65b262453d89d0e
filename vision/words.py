"""Whether a caption names a label."""

from __future__ import annotations

import functools
import re


@functools.cache
def _pattern(label: str) -> re.Pattern[str]:
    return re.compile(rf"\b{re.escape(label.lower())}(e?s)?\b")


def mentions(caption: str, label: str) -> bool:
    """Whether the caption has the label as words of its own, in singular or plural, whatever the case."""
    return _pattern(label).search(caption.lower()) is not None
