"""What a study's tables warn of: dictionaries whose concepts may have been drawn rather than learned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.errors import StorageError
from storage.site import Site
from storage.tables import read_table
from study.config import StudyConfig
from study.saes import SHARED, TRAINED

LONGER = "train longer (sae.vectors or sae.epochs), on more prompts (prompts.splits.train) or with a larger sae.lr"


@dataclass(frozen=True)
class Limit:
    """A column of ``sae_metrics`` that is good when it is small: ``most`` it may be, and what more of it means."""

    column: str
    most: float
    means: str
    written: str  # how a value of the column is shown


LIMITS = (
    # At a cosine of a half, a quarter of a concept vector's squared length is its random start's. The share whose own
    # start is nearest makes no limit: among 5120 starts in 1280 channels a cosine of .2 is enough for it, which is a
    # start that was left.
    Limit("init_cosine", 0.5, "their concepts still stand near the random directions they began as", ".2f"),
    # Half a point of variance in a fifth of the steps, in which the learning rate falls: that alone gains a little.
    Limit("late_gain", 0.005, "explained variance was still rising when training ended", ".4f"),
    Limit("dead_fraction", 0.1, "many of their latents never fire", ".2f"),
)


def learning_cautions(rows: Iterable[Mapping[str, Any]], config: StudyConfig) -> list[str]:
    """A sentence for each limit that some dictionary of the rows of ``sae_metrics`` is beyond; none where all is well.

    Dictionaries are the SAEs that later stages use, of single times and of all: controls are not meant to learn.
    """
    used = [row for row in rows if _is_dictionary(row, config)]
    return [sentence for limit in LIMITS if (sentence := _sentence(limit, used))]


def _is_dictionary(row: Mapping[str, Any], config: StudyConfig) -> bool:
    return row["kind"] in (TRAINED, SHARED) and (row["expansion"], row["seed"]) == (
        config.sae.expansion[0],
        config.seed,
    )


def _sentence(limit: Limit, rows: list[Mapping[str, Any]]) -> str | None:
    known = [row for row in rows if row[limit.column] is not None]
    beyond = [row for row in known if row[limit.column] > limit.most]
    if not beyond:
        return None
    worst = max(beyond, key=lambda row: row[limit.column])
    name = f"{Site(worst['block'], worst['t'], worst['conditioning']).path} k{worst['k']}"
    name += f" {SHARED}" if worst["kind"] == SHARED else ""
    return (
        f"{limit.column} is above {limit.most} in {len(beyond)} of {len(known)} dictionaries (largest at {name}: "
        f"{worst[limit.column]:{limit.written}}): {limit.means}; {LONGER}"
    )


def study_cautions(root: str | Path, config: StudyConfig) -> list[str]:
    """The sentences on a study folder; none of one whose table cannot be read, which others tell."""
    columns = ["block", "t", "conditioning", "k", "expansion", "seed", "kind", *(limit.column for limit in LIMITS)]
    try:
        rows = read_table(root, "sae_metrics", columns).to_pylist()
    except (StorageError, pa.ArrowInvalid, OSError, AttributeError, KeyError, TypeError):
        return []
    return learning_cautions(rows, config)
