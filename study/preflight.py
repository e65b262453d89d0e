"""What can be known to be wrong before a study's folder is made: where it is to be, and the files of its labels."""

from __future__ import annotations

import os
from pathlib import Path

from concepts.hierarchy import load_hierarchy
from study.config import StudyConfig
from study.contradictions import refuse_contradictions
from study.errors import StudyError
from study.opening import may_write

FIRST = ("run", "collect")  # the commands that a study begins with


def refuse_beginning(root: str | Path, config: StudyConfig, command: str) -> None:
    """Raise a user's error for a study that is to be begun in ``root`` and cannot; nothing is written.

    What the settings alone tell comes first, in a moment; the files that they name are looked at after it, which
    imports the model libraries.
    """
    refuse_contradictions(config)
    refuse_unusable(root, config, command)
    may_write(root, config)


def refuse_unusable(root: str | Path, config: StudyConfig, command: str) -> None:
    """Raise a user's error for what would stop a new study later on; nothing is written."""
    if command not in FIRST:
        raise StudyError(f"{root} holds no study: run `concepts collect` or `concepts run` into it first")
    _refuse_unwritable(Path(root))
    labels = config.labels
    if labels.hierarchy:
        load_hierarchy(labels.hierarchy, [])
    if labels.embedder == "word2vec" and not Path(str(labels.word2vec_path)).is_file():
        raise StudyError(f"labels.word2vec_path {labels.word2vec_path} is not a file: give a Word2Vec text file")


def _refuse_unwritable(root: Path) -> None:
    """A file where a folder above should be, or a place where no folder can be made."""
    above = root
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise StudyError(f"--root {root}: {above} is a file: choose another folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise StudyError(f"--root {root}: nothing can be written into {above}: make it writable or choose another")
