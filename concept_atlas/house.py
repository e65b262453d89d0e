"""Finding our own rooms although others bear their names.

``storage``, ``tasks`` and the like are top-level packages, and a notebook's folder may well hold a ``tasks.py`` of its
own, which Python finds first. Where that is so, the rooms are loaded once more below ``concept_atlas.rooms``, and every
import in them is led there. Neither side then sees the other's modules, whichever is imported first.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

BASE = Path(__file__).resolve().parent.parent
ROOMS = ("concepts", "diffusion", "figures", "flows", "sae", "storage", "study", "tasks", "vision")
OURS, APART = "concept_atlas.", "concept_atlas.rooms."


def keep_apart() -> None:
    """Have the rooms loaded under names of their own, if Python would find another module under one of theirs."""
    if any(_is_anothers(room) for room in ROOMS) and not any(isinstance(f, _Finder) for f in sys.meta_path):
        rooms = ModuleType(APART.rstrip("."))
        rooms.__path__ = []
        sys.modules[rooms.__name__] = rooms
        sys.meta_path.insert(0, _Finder())


def _is_anothers(room: str) -> bool:
    loaded = sys.modules.get(room)
    spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(room)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    return not any(Path(place).resolve() == BASE / room for place in places)


class _Finder:
    """Finds ``concept_atlas.rooms.X`` and our own modules, and has them import rooms by those names."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.startswith(APART):
            room = name.removeprefix(APART)
            spec = PathFinder.find_spec(room, [str((BASE / room.replace(".", "/")).parent)])
        elif name.startswith(OURS) and name != __name__:
            spec = PathFinder.find_spec(name, [str(Path(__file__).parent)])
        else:
            return None
        if spec is None or spec.origin is None:
            return None
        places = spec.submodule_search_locations
        return importlib.util.spec_from_file_location(
            name, spec.origin, loader=_Loader(name, spec.origin), submodule_search_locations=places
        )


class _Loader(SourceFileLoader):
    """Runs a module whose import statements lead to the rooms apart."""

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _led_apart}
        super().exec_module(module)


def _led_apart(
    name: str, globals_: Any = None, locals_: Any = None, fromlist: Sequence[str] | None = (), level: int = 0
) -> Any:
    if level or name.partition(".")[0] not in ROOMS:
        return builtins.__import__(name, globals_, locals_, fromlist or (), level)
    module = importlib.import_module(APART + name)
    if not fromlist:
        return sys.modules[APART + name.partition(".")[0]]
    for part in fromlist:
        if not hasattr(module, part) and hasattr(module, "__path__"):
            importlib.import_module(f"{APART}{name}.{part}")
    return module
