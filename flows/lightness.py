"""What a command that answers at once does without: pandas, NumPy where it counts nothing, the search for garbage."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


def start_lightly(plain: Collection[str] = ()) -> None:
    """For a process that is a command of ours, and ends with it: who works in Python may well hand Arrow a Series.

    Such a command makes no cycles that are worth finding before its end, and the search for them costs a tenth of it.
    ``plain``: modules of Arrow that it needs, imported here and now to do without NumPy, which takes a sixth of a
    second.
    """
    gc.disable()
    keep_plugins_away()
    with _absent("numpy"):
        for name in plain:
            import_module(name)
    keep_pandas_away()


def keep_plugins_away() -> None:
    """Have pydantic look for no plug-ins of its own: it would ask each installed package, two hundred of them."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def keep_pandas_away() -> None:
    """Have Arrow take it that there is no pandas, until a table is made into a data frame.

    Where pandas is installed Arrow imports it with the first array of a process, whatever that is of, in a third of a
    second.
    """
    import pyarrow as pa

    with _absent("pandas"):
        pa.scalar(True)  # at which Arrow looks for it, once


@contextmanager
def _absent(name: str) -> Iterator[None]:
    """While the context is open, who imports the package is told that it is not installed."""
    absent = _Absent(name)
    sys.meta_path.insert(0, absent)
    try:
        yield
    finally:
        sys.meta_path.remove(absent)


class _Absent:
    """Says that a package is not installed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> None:
        """What importing asks of every finder. Raises ``ImportError`` for the package."""
        if name == self._name:
            raise ImportError(f"{name} is not for this command")
