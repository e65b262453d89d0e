"""Imports of large libraries, which a command needs as a whole and keeps to its end."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from importlib import import_module

from study.stage import Stage


def import_kept(*names: str) -> None:
    """Import modules. Nothing of them is garbage.

    To look for some takes a second while they are imported, and more again and again later.
    """
    gc.disable()
    try:
        for name in names:
            import_module(name)
        gc.freeze()
    finally:
        gc.enable()


def import_work(stages: Iterable[Stage]) -> None:
    """Import what makes the units of stages, which the first unit of each would wait for."""
    import_kept(*(stage.work.partition(":")[0] for stage in stages))
