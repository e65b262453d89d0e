"""One concept's labels out of the dictionaries of a full study: by Arrow, by SQL over all parts, and over its own.

    python -m benchmarks.queries --keep DIR    # makes the tables
    python -m benchmarks.concept_rows DIR      # ten seconds

The rows of ``concept_labels`` that a concept's page reads, of concepts drawn with a fixed seed, asked for by each way
in turn. Columns: milliseconds in the median by the clock and of the processor, of all threads.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import concept_atlas
from explorer.concept_page import READ
from storage.query import OpenTables

TABLE = "concept_labels"


def ways_of(root: Path) -> dict[str, Callable[[dict[str, Any]], pa.Table]]:
    """Name -> what answers for the columns and values that name a concept."""
    atlas, tables = concept_atlas.open(root), OpenTables(root, [TABLE])
    atlas.hold_parts()

    def statement(where: dict[str, Any]) -> pa.Table:
        asked = " and ".join(f"{name} = ?" for name in where)
        return tables.query(f"select {', '.join(READ)} from {TABLE} where {asked}", list(where.values()))

    return {
        "Arrow": lambda where: atlas.rows(TABLE, READ, where),
        "SQL, all parts": statement,
        "SQL, its own part": lambda where: tables.rows(TABLE, READ, where),
    }


def drawn(root: Path, n: int) -> list[dict[str, Any]]:
    """Concepts of any dictionary, as columns and values."""
    atlas, rng = concept_atlas.open(root), np.random.default_rng(0)
    known = atlas.query("select block, t, conditioning, k, cid from concepts")
    return list(known.take(rng.choice(known.num_rows, n, replace=False)).to_pylist())


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--concepts", type=int, default=40)
    given = parser.parse_args()
    ways = ways_of(given.root)
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for concept in drawn(given.root, given.concepts + 1):
        answers = set()
        for way, ask in ways.items():
            begun, used = time.perf_counter(), time.process_time()
            rows = ask({**concept, "kind": "trained"})
            times[way].append((1000 * (time.perf_counter() - begun), 1000 * (time.process_time() - used)))
            answers.add(tuple(sorted(rows["label"].to_pylist())))
        if len(answers) != 1:
            raise RuntimeError(f"{concept}: the ways do not answer alike")
    print(f"{'way':<20} {'ms':>8} {'cpu ms':>8}")
    for way, taken in times.items():
        clock, processor = (statistics.median(of) for of in zip(*taken[1:], strict=True))
        print(f"{way:<20} {clock:>8.1f} {processor:>8.1f}")


if __name__ == "__main__":
    main()
