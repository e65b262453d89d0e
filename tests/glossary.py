"""What docs/glossary.md defines, and the words of tables that it has to define."""

from __future__ import annotations

import re
from pathlib import Path

from storage.query import query
from storage.schemas import SCHEMAS
from tests.paths import ROOT

# Text columns whose values are words of the house. All others hold names, captions, hashes and words of a vocabulary.
WORDS = {"split", "conditioning", "kind", "chosen_by", "method", "control", "region", "cases", "scope"}
FREE = {
    *("caption", "source_file", "sha256", "label", "tagger", "backend", "grid", "block", "top_label", "parent"),
    *("window", "target", "blocks", "run_id", "stage", "config_hash", "git_sha", "versions"),
}


def rows() -> list[list[str]]:
    """Each row of the glossary's tables as its cells."""
    lines = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


def defined() -> set[str]:
    """The words in code type that a row defines: its own word, or one that its meaning tells apart from others."""
    return {word for word, meaning, *_ in rows() for word in re.findall(r"`([^`]+)`", f"{word} {meaning}")}


def words_in(root: str | Path) -> set[str]:
    """Every word of the house that a study's tables hold."""
    found: set[str] = set()
    for table, schema in SCHEMAS.items():
        for column in WORDS & set(schema.names):
            values = query(root, f'select distinct "{column}" from {table}').column(0).to_pylist()
            found |= {word for value in values for word in value.split(" - ")}  # a difference of two methods
    return found - {"*"}
