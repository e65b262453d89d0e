"""The environment of the commands that a benchmark starts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent


def environment_of(checkout: Path = REPO, *more: Path, url: str | None = None, **variables: str) -> dict[str, str]:
    """This process's environment, offline, with the checkout's modules and ``more`` before all others.

    What the caller put on ``PYTHONPATH`` stays behind them: packages may have been installed there. ``url`` is the
    Prefect server; without it a command has one of its own, whatever server the caller knows.
    """
    given = os.environ.get("PYTHONPATH")
    paths = [str(checkout), *map(str, more), *([given] if given else [])]
    kept = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    served = {"PREFECT_API_URL": url} if url else {}
    return kept | served | {"HF_HUB_OFFLINE": "1", **variables, "PYTHONPATH": os.pathsep.join(paths)}


def as_flags(settings: Iterable[str]) -> list[str]:
    """Settings, ``a.b=value`` each, as the command line takes them."""
    return [part for setting in settings for part in ("--set", setting)]
