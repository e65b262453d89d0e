"""The versions of what lies in a study folder, and the one function that refuses what a newer code has written.

A file carries the version it was written in. Files from before there were versions carry none and count as 1, which is
read on. A version rises when the same name comes to mean something else; a column or a key more is no new version.
"""

from __future__ import annotations

from typing import Any

from storage.errors import StorageError

KEY = "format"  # in study.yaml, in records and among the attributes of the activation store
TABLE_KEY = b"concept_atlas.format"  # in the schema metadata of a table's part; its value is the number in ASCII

STUDY = 2  # 2: with the versions of the stages
RECORD = 2  # 2: may name further files
TABLE = 2  # 2: says its version
STORE = 2  # 2: says its version
FIRST = 1  # of everything that says none


class NewerFormat(StorageError):
    """What was read was written by a newer version of the code."""


def format_of(found: Any, known: int, where: object) -> int:
    """The version that ``found`` (what the file says, or None) stands for.

    Raises ``NewerFormat`` naming ``where`` if it is newer than ``known``, the one this code writes, and
    ``StorageError`` if it is no version at all.
    """
    if found is None:
        return FIRST
    version = _number(found)
    if version is None or version < FIRST:
        raise StorageError(f"{where} is damaged (its format is {found!r}): run `concepts verify`")
    if version > known:
        raise NewerFormat(
            f"{where} was written by a newer version of Concept Atlas (its format is {version}, this one reads up to "
            f"{known}): upgrade concept-atlas"
        )
    return version


def _number(found: Any) -> int | None:
    return found if isinstance(found, int) and not isinstance(found, bool) else None
