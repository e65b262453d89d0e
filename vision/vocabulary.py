"""The labels to look for: from a list, or from a file of one label a line with or without a threshold of its own."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vision.errors import VisionError
from vision.settings import VisionSettings

COMMENT = "#"


@dataclass(frozen=True)
class Vocabulary:
    """Distinct labels, and each one's zero-shot threshold in [0, 1], or None where the global one holds."""

    labels: tuple[str, ...]
    thresholds: tuple[float | None, ...]

    @property
    def digest(self) -> str:
        """sha256 (hex) of labels and thresholds: tells whether a vocabulary file has changed."""
        return hashlib.sha256(repr((self.labels, self.thresholds)).encode()).hexdigest()


def vocabulary_of(settings: VisionSettings) -> Vocabulary:
    """The vocabulary that the settings give, in a file or in line. Raises ``VisionError``."""
    if settings.vocabulary_file:
        return read_vocabulary(settings.vocabulary_file)
    numbered = [(n, normal(label), None) for n, label in enumerate(settings.vocabulary, start=1)]
    for number, label, _ in numbered:
        if not label:
            raise VisionError(f"vision.vocabulary: label {number} is blank: remove it")
    return _distinct("vision.vocabulary", "label", numbered)


def read_vocabulary(path: str | Path) -> Vocabulary:
    """Read a UTF-8 file of one ``label`` or ``label<TAB>threshold`` a line.

    Blank lines and lines that start with # are skipped. Labels are NFKC-normalised and stripped. Raises
    ``VisionError`` naming the line: unreadable, empty, a threshold outside [0, 1], or a label given twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise VisionError(f"vocabulary file {path} cannot be read ({error.strerror}): give a text file") from error
    except UnicodeDecodeError as error:
        raise VisionError(f"vocabulary file {path} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    # Not splitlines(): its rarer separators would tear labels apart without a word.
    lines = enumerate(text.replace("\r\n", "\n").split("\n"), start=1)
    entries = [_entry(path, n, line) for n, line in lines if line.strip() and not line.lstrip().startswith(COMMENT)]
    if not entries:
        raise VisionError(f"vocabulary file {path} has no label: write one label a line")
    return _distinct(f"vocabulary file {path}", "line", entries)


def write_vocabulary(path: str | Path, labels: Sequence[str], thresholds: Sequence[float | None]) -> None:
    """Write a file that ``read_vocabulary`` reads back exactly; None leaves a label to the global threshold.

    Raises ``VisionError`` if a label cannot stand in such a file.
    """
    for label in labels:
        if label != normal(label) or not label or label.startswith(COMMENT):
            raise VisionError(
                f"label {label!r} cannot be written to {path}: labels are stripped, NFKC-normalised, not blank "
                f"and do not start with {COMMENT}"
            )
    _distinct(str(path), "label", list(zip(range(1, len(labels) + 1), labels, thresholds, strict=True)))
    lines = [label if t is None else f"{label}\t{float(t)!r}" for label, t in zip(labels, thresholds, strict=True)]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def normal(label: str) -> str:
    """The label NFKC-normalised, with single spaces and none at the ends."""
    return " ".join(unicodedata.normalize("NFKC", label).split())


def _entry(path: str | Path, number: int, line: str) -> tuple[int, str, float | None]:
    label, tab, rest = line.partition("\t")
    if not normal(label):
        raise VisionError(f"{path}, line {number}: the label is blank")
    return number, normal(label), _threshold(path, number, rest) if tab else None


def _threshold(path: str | Path, number: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise VisionError(f"{path}, line {number}: the threshold {text!r} is not a number in [0, 1]")
    return value


def _distinct(origin: str, unit: str, entries: Iterable[tuple[int, str, float | None]]) -> Vocabulary:
    seen: dict[str, int] = {}
    kept = list(entries)
    for number, label, _ in kept:
        # Captions are matched and most detectors read whatever the case: such twins would be one label.
        first = seen.setdefault(label.casefold(), number)
        if first != number:
            raise VisionError(f"{origin}: {unit}s {first} and {number} are both {label!r}: remove one of them")
    return Vocabulary(tuple(label for _, label, _ in kept), tuple(threshold for _, _, threshold in kept))
