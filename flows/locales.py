"""Running alike in every locale: names and text are UTF-8, whatever the environment says of the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from study.errors import StudyError


def ensure_utf8() -> None:
    """Start the command again in Python's UTF-8 mode if it was started in another encoding.

    There, names would be torn into halves of characters, which Arrow, DuckDB and Prefect refuse; and processes that
    the command starts are to be in the same mode.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONUTF8": "1"})


def refuse_torn(arguments: Sequence[str]) -> None:
    """Raise ``StudyError`` for a name whose bytes are not UTF-8: no table or record could hold it."""
    for argument in arguments:
        if any("\ud800" <= character <= "\udfff" for character in argument):
            shown = argument.encode(errors="backslashreplace").decode()
            raise StudyError(f"the argument {shown} is not UTF-8: rename the file or folder, or write it in UTF-8")


def print_in_any_encoding() -> None:
    """Have what a terminal's encoding lacks printed as an escape: a caption must not end a command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
