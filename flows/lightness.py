"""What a command that answers at once does without: pandas, which nobody has asked for, and the search for garbage."""

from __future__ import annotations

import gc
import sys
from typing import Any


def start_lightly() -> None:
    """For a process that is a command of ours, and ends with it: who works in Python may well hand Arrow a Series.

    Such a command makes no cycles that are worth finding before its end, and the search for them costs a tenth of it.
    """
    gc.disable()
    keep_pandas_away()


def keep_pandas_away() -> None:
    """Have Arrow take it that there is no pandas, until a table is made into a data frame.

    Where pandas is installed Arrow imports it with the first array of a process, whatever that is of, in a third of a
    second.
    """
    import pyarrow as pa

    absent = _Absent()
    sys.meta_path.insert(0, absent)
    try:
        pa.scalar(True)  # at which Arrow looks for it, once
    finally:
        sys.meta_path.remove(absent)


class _Absent:
    """Says that pandas is not installed."""

    @staticmethod
    def find_spec(name: str, _path: Any = None, _target: Any = None) -> None:
        """What importing asks of every finder. Raises ``ImportError`` for pandas."""
        if name == "pandas":
            raise ImportError("pandas is not for this command")
