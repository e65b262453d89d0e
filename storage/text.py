"""Text that comes from data, or from the machine's settings, made fit for a terminal."""

from __future__ import annotations

import re
import unicodedata

JOINERS = "\u200c\u200d"  # part of Persian words and of emoji; they move nothing
# The part of an address that says who asks, and with what password, up to its last @; access tokens of the model hub.
SECRET = re.compile(r"(?<=://)[^\s'\"]*(?=@)|\bhf_[A-Za-z0-9]{20,}")


def printable(text: str) -> str:
    """The text with every character that is none to be seen written as its escape.

    Captions and file names come from strangers: an escape sequence among them could clear the screen or retitle the
    window, a line break could forge a row, and a mark that reverses the direction could show a name backwards.
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character.isprintable() or character in JOINERS or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape", "backslashreplace").decode()


def width(text: str) -> int:
    """Columns that printable text takes in a terminal: two for a wide character, none for a mark on the one before."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if character in JOINERS or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """At most that many columns, an ellipsis of three dots for the rest."""
    if width(text) <= columns:
        return text
    kept, used = [], 0
    for character in text:
        used += _columns(character)
        if used > columns - 3:
            break
        kept.append(character)
    return "".join(kept) + "..."


def padded(text: str, columns: int, right: bool = False) -> str:
    """The text with spaces to fill that many columns, before it if ``right``."""
    space = " " * (columns - width(text))
    return space + text if right else text + space


def without_secrets(text: str) -> str:
    """The text with ``***`` for the password of each address (``http://user:password@host``) and each hub token.

    An @ behind the host hides the host, too: a password that is written badly may hold any character.
    """
    return SECRET.sub("***", text)
