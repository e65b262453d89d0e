"""One label's rows out of the dictionaries of a full study: by Arrow, and by SQL in parts of large and of small pages.

    python -m benchmarks.queries --keep DIR    # makes the tables
    python -m benchmarks.label_rows DIR        # half a minute; writes copies of one table below the temporary folder

The rows of one k of eight labels, asked for by each way in turn: those that a label's page reads. Beside them a scan
of a whole column, which must not become slower. Columns: milliseconds in the median by the clock and of the processor,
of all threads; megabytes of the table.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from explorer.label_page import EVIDENCE, READ
from storage.tables import checked_parts, open_parts, parquet_options

LABELS = ("tree", "house", "boat", "label 3", "label 9", "label 500", "label 2000", "label 3000")
SCAN = "select label, max(iou_heldout) from concept_labels where kind = 'trained' and assigned group by label"
WITHOUT = {"write_page_index": False, "max_rows_per_page": 20_000}  # pyarrow's own defaults


def copied(files: list[Path], folder: Path, options: dict[str, Any]) -> list[Path]:
    """The parts, written anew below a folder."""
    folder.mkdir()
    for file in files:
        rows = pq.read_table(file)
        pq.write_table(rows, folder / file.name, **{**parquet_options("concept_labels", rows), **options})
    return sorted(folder.iterdir())


def by_arrow(files: list[Path]) -> Callable[[str], int]:
    """Asks as ``storage.tables.read_table`` does."""
    dataset = open_parts("concept_labels", files)
    return lambda label: int(
        dataset.to_table(list(READ), (ds.field("label") == label) & (ds.field("k") == 10)).num_rows
    )


def by_sql(files: list[Path], sql: str, values: Callable[[str], list[Any]]) -> Callable[[str], int]:
    """Asks a connection that stays open, as ``storage.query.OpenTables`` does."""
    connection = duckdb.connect()
    connection.execute("SET parquet_metadata_cache = true")
    connection.execute(f"CREATE VIEW concept_labels AS FROM read_parquet({[str(file) for file in files]})")
    return lambda label: connection.sql(sql, params=values(label)).arrow().read_all().num_rows


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = checked_parts(given.root, "concept_labels")
        parts = {
            "large pages": copied(files, Path(folder, "large"), WITHOUT),
            "small pages": copied(files, Path(folder, "small"), {}),
        }
        ways: dict[str, Callable[[str], int]] = {}
        for name, of in parts.items():
            ways[f"{name}: Arrow"] = by_arrow(of)
            ways[f"{name}: SQL"] = by_sql(of, EVIDENCE, lambda label: [label, 10])
            ways[f"{name}: scan in SQL"] = by_sql(of, SCAN, lambda _: [])
            print(f"{name}: {sum(file.stat().st_size for file in of) / 1e6:.0f} MB")
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for label in LABELS * given.rounds:
            for way, ask in ways.items():
                begun, used = time.perf_counter(), time.process_time()
                ask(label)
                times[way].append((1000 * (time.perf_counter() - begun), 1000 * (time.process_time() - used)))
        for way, taken in times.items():
            clock, processor = (statistics.median(column) for column in zip(*taken, strict=True))
            print(f"{way:<28} {clock:>6.0f} {processor:>6.0f}")


if __name__ == "__main__":
    main()
