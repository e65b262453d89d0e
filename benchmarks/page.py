"""Writing what a script has made into a page, or comparing it with what stands there."""

from __future__ import annotations

from collections.abc import Callable
from operator import eq
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent


def put(page: Path, after: str, check: bool, what: str, same: Callable[[str, str], bool] = eq) -> int:
    """Write the page unless it is only to be checked, and say whether it had the same ``what`` (figures, values).

    Returns an exit code: 1 where a check finds others.
    """
    before = page.read_text(encoding="utf-8")
    equal = same(before, after)
    if not check:
        page.write_text(after, encoding="utf-8")
    shown = page.relative_to(REPO) if page.is_relative_to(REPO) else page
    print(f"{shown}: {'the same' if equal else 'other'} {what}")
    return 1 if check and not equal else 0
