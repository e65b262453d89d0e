"""What a study's tables warn of: dictionaries whose concepts may have been drawn rather than learned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from sae.points import PLATEAU, gain
from storage.errors import StorageError
from storage.site import Site
from storage.tables import read_table
from study.config import StudyConfig
from study.saes import SHARED, TRAINED

Rows = Iterable[Mapping[str, Any]]
NAMES = ("block", "t", "conditioning", "k", "expansion", "seed", "kind")  # of an SAE
PLATEAU_GAIN = "the gain from 0.6 to 0.8 of the steps"
LONGER = "train longer (sae.vectors or sae.epochs), on more prompts (prompts.splits.train) or with a larger sae.lr"


@dataclass(frozen=True)
class Limit:
    """A figure that is good when it is small: ``most`` it may be, and what more of it means."""

    name: str
    most: float
    means: str
    written: str  # how a value is shown


LIMITS = (
    # At a cosine of a half, a quarter of a concept vector's squared length is its random start's. The share whose own
    # start is nearest makes no limit: among 5120 starts in 1280 channels a cosine of .2 is enough for it, which is a
    # start that was left.
    Limit("init_cosine", 0.5, "their concepts still stand near the random directions they began as", ".2f"),
    # Half a point of variance in a fifth of the steps at the full learning rate. Not of the last fifth: there the rate
    # falls, which gained as much in runs whose plateau was flat.
    Limit(PLATEAU_GAIN, 0.005, "explained variance was still rising before the learning rate fell", ".4f"),
    Limit("dead_fraction", 0.1, "many of their latents never fire", ".2f"),
)


def learning_cautions(rows: Rows, curves: Rows, config: StudyConfig) -> list[str]:
    """A sentence for each limit that some dictionary is beyond; none where all is well.

    ``rows`` are of ``sae_metrics``, ``curves`` of ``sae_curves``. Dictionaries are the SAEs that later stages use, of
    single times and of all: controls are not meant to learn.
    """
    gains = _plateau_gains(curves)
    used: list[Mapping[str, Any]] = [
        {**row, PLATEAU_GAIN: gains.get(_key(row))} for row in rows if _is_dictionary(row, config)
    ]
    return [sentence for limit in LIMITS if (sentence := _sentence(limit, used))]


def _plateau_gains(curves: Rows) -> dict[tuple[Any, ...], float | None]:
    """What each SAE's explained variance rose by while the learning rate was at its plateau."""
    points: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in curves:
        points.setdefault(_key(row), []).append(row)
    return {key: gain(rows, max(row["step"] for row in rows), *PLATEAU) for key, rows in points.items()}


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in NAMES)


def _is_dictionary(row: Mapping[str, Any], config: StudyConfig) -> bool:
    return row["kind"] in (TRAINED, SHARED) and (row["expansion"], row["seed"]) == (
        config.sae.expansion[0],
        config.seed,
    )


def _sentence(limit: Limit, rows: list[Mapping[str, Any]]) -> str | None:
    known = [row for row in rows if row[limit.name] is not None]
    beyond = [row for row in known if row[limit.name] > limit.most]
    if not beyond:
        return None
    worst = max(beyond, key=lambda row: row[limit.name])
    name = f"{Site(worst['block'], worst['t'], worst['conditioning']).path} k{worst['k']}"
    name += f" {SHARED}" if worst["kind"] == SHARED else ""
    return (
        f"{limit.name} is above {limit.most} in {len(beyond)} of {len(known)} dictionaries (largest at {name}: "
        f"{worst[limit.name]:{limit.written}}): {limit.means}; {LONGER}"
    )


def study_cautions(root: str | Path, config: StudyConfig) -> list[str]:
    """The sentences on a study folder; none of one whose table cannot be read, which others tell."""
    try:
        rows = read_table(root, "sae_metrics", [*NAMES, "init_cosine", "dead_fraction"]).to_pylist()
        curves = read_table(root, "sae_curves", [*NAMES, "step", "explained_variance"]).to_pylist()
    except (StorageError, pa.ArrowInvalid, OSError, AttributeError, KeyError, TypeError):
        return []
    return learning_cautions(rows, curves, config)
