"""The ten documented questions, timed on tables of a full study: 36 SAEs of 5120 concepts, 4585 labels, 40,000 images.

    python -m benchmarks.queries            # writes some 1 GB below the temporary folder, a few minutes on one core
    python -m benchmarks.queries --small    # seconds
    python -m benchmarks.queries --keep DIR # keeps the tables in DIR, and uses them if they are there;
                                            # `python -m benchmarks.explorer DIR` times the explorer's pages on them,
                                            # those of images once `python -m benchmarks.full_pictures DIR` made some

The questions are read from docs/labelling.md. The tables are drawn at random, of the sizes and the sparsity of a full
study: ten labels a trained and a shared concept, five an untrained one, 384 numbers an embedding, three examples in ten
bins, six segments an image. Each time is the median of five calls of ``storage.query.query``, each with a connection of
its own.
"""

from __future__ import annotations

import argparse
import itertools
import re
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.publish import publish_unit
from storage.query import query
from storage.schemas import SCHEMAS, WRITERS
from storage.study import create_study
from storage.tables import count_rows, parts
from study.config import load_config

REPO = Path(__file__).parents[1]
PAGE = REPO / "docs" / "labelling.md"
QUESTION = re.compile(r"^\*\*(\d+)\. (.+?)\*\*.*?^```sql\n(.+?)^```", re.S | re.M)
TARGET_MS = 200
PIXELS, GRID = 512, 16  # of an image, and of a map, at a side
NAMED = ("tree", "house", "boat", "cloud", "sky", "grass", "night")
SITES = tuple(itertools.product(("down", "mid", "up"), (1.0, 0.5, 0.0), ("cond", "uncond"), (10, 20)))
KINDS = {"trained": 10, "untrained": 5, "shared": 10}  # label rows a concept
CONTROLS = ("trained", "shared", "untrained", "frozen", "shuffled_decoder", "neurons", "pca", "shuffled_positions")


@dataclass(frozen=True)
class Size:
    """How large a study the tables are drawn for."""

    concepts: int = 5120
    labels: int = 4585
    width: int = 384
    prompts: int = 246_000
    images: int = 45_000  # segmented: dictionary and layout splits
    shard: int = 256


SMALL = Size(concepts=256, labels=300, width=32, prompts=2000, images=1024)


def questions() -> dict[str, str]:
    """Number and text of each documented question -> its SQL."""
    return {f"{number}. {' '.join(text.split())}": sql for number, text, sql in QUESTION.findall(PAGE.read_text())}


def write_tables(root: Path, size: Size) -> None:
    """Every table that a question reads, in the parts that the pipeline would write."""
    rng = np.random.default_rng(0)
    labels = names_of(size.labels)
    write_part(root, "prompts", "all", _prompts(size))
    for start in range(0, size.images, size.shard):
        write_part(root, "segments", f"{start // size.shard:06d}", _segments(rng, labels, start, size))
    for site in SITES:
        name = "-".join(map(str, site))
        columns = dict(zip(("block", "t", "conditioning", "k"), site, strict=True))
        write_part(root, "concepts", name, columns | _concepts(rng, labels, size))
        write_part(root, "concept_activity", name, columns | _activity(size))
        pairs = [_pairs(rng, labels, kind, each, size.concepts) for kind, each in KINDS.items()]
        joined = {column: np.concatenate([p[column] for p in pairs]) for column in pairs[0]}
        write_part(root, "concept_labels", name, columns | joined)
        write_part(root, "concept_examples", name, columns | _examples(rng, size))
        write_part(root, "label_controls", name, columns | {"kind": np.array(CONTROLS, object)}, rng)


def names_of(labels: int) -> np.ndarray:
    """So many labels, object [labels]: a few that questions name, and others."""
    return np.array([*NAMED, *(f"label {i}" for i in range(labels - len(NAMED)))], object)


def write_part(
    root: Path, table: str, part: str, columns: dict[str, Any], rng: np.random.Generator | None = None
) -> None:
    """Publish rows as a unit would. Single values stand for whole columns; columns that are not given are drawn."""
    rows = next(len(c) for c in columns.values() if isinstance(c, (np.ndarray, pa.Array)))
    rng = rng or np.random.default_rng(1)
    arrays = [_array(columns.get(field.name), field, rows, rng) for field in SCHEMAS[table]]
    rows_of = {table: pa.Table.from_arrays(arrays, schema=SCHEMAS[table])}
    publish_unit(root, WRITERS[table][0], f"{table}/{part}", rows_of, part, "benchmark")


def _array(given: Any, field: pa.Field, rows: int, rng: np.random.Generator) -> pa.Array:
    kind = field.type
    if isinstance(given, (np.ndarray, pa.Array)):
        return pa.array(given, kind)
    if given is not None:
        return pa.array([given] * rows, kind)
    if pa.types.is_floating(kind):
        return pa.array(rng.random(rows), kind)
    if pa.types.is_boolean(kind):
        return pa.array(rng.random(rows) < 0.5, kind)
    if pa.types.is_integer(kind):
        return pa.array(rng.integers(0, 1000, rows), kind)
    if pa.types.is_fixed_size_list(kind):
        inner = _array(None, kind.value_field, rows * kind.list_size, rng)
        return pa.FixedSizeListArray.from_arrays(inner, kind.list_size)
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(np.zeros(rows + 1, np.int32), pa.array([], kind.value_type))
    return pa.array(["drawn"] * rows, kind)


def _some_labels(rng: np.random.Generator, labels: np.ndarray, rows: int) -> np.ndarray:
    """Labels as frequent as words are: the seven that questions name are the most frequent."""
    weight = 1.0 / (np.arange(len(labels)) + 10)
    return labels[rng.choice(len(labels), rows, p=weight / weight.sum())]


def _prompts(size: Size) -> dict[str, Any]:
    captions = [f"a caption of some ten words, as captions of photographs are, no. {i}" for i in range(size.prompts)]
    return {"prompt_id": np.arange(size.prompts), "caption": np.array(captions, object), "split": "dictionary"}


def _segments(rng: np.random.Generator, labels: np.ndarray, start: int, size: Size) -> dict[str, Any]:
    images = min(size.shard, size.images - start)
    rows = 6 * images
    ends = 80 * np.arange(rows + 1, dtype=np.int32)
    cuts = np.sort(rng.integers(0, PIXELS**2, (rows, 79)), axis=1)
    runs = np.diff(cuts, axis=1, prepend=0, append=PIXELS**2)  # of each mask, from its first pixel to its last
    return {
        "prompt_id": start + np.repeat(np.arange(images), 6),
        "segment_id": np.tile(np.arange(6), images),
        "label": _some_labels(rng, labels, rows),
        "rle_counts": pa.ListArray.from_arrays(ends, pa.array(runs.ravel(), pa.int32())),
        "rle_size": _pairs_of(PIXELS, rows),
    }


def _pairs_of(side: int, rows: int) -> pa.Array:
    """A square's height and width, for every row."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.full(2 * rows, side), pa.int32()), 2)


def _concepts(rng: np.random.Generator, labels: np.ndarray, size: Size) -> dict[str, Any]:
    ends = size.width * np.arange(size.concepts + 1, dtype=np.int32)
    vectors = pa.array(rng.normal(size=ends[-1]), pa.float32())
    unlabelled = pa.array(np.arange(size.concepts) % 8 == 7)  # have neither label nor embedding
    parents = np.where(rng.random(size.concepts) < 0.1, "broader", None)
    return {
        "cid": np.arange(size.concepts),
        "alive": True,
        "top_label": pc.if_else(unlabelled, None, pa.array(_some_labels(rng, labels, size.concepts))),
        "embedding": pc.if_else(unlabelled, None, pa.ListArray.from_arrays(ends, vectors)),
        "parent": parents.astype(object),
    }


def _activity(size: Size) -> dict[str, Any]:
    """Twenty counts and eight partners of every concept."""
    rng = np.random.default_rng(2)

    def lists(values: np.ndarray, kind: pa.DataType) -> pa.Array:
        each = values.shape[1]
        ends = each * np.arange(size.concepts + 1, dtype=np.int32)
        return pa.ListArray.from_arrays(ends, pa.array(values.ravel(), kind))

    partners = (np.arange(size.concepts)[:, None] + 1 + rng.permutation(size.concepts - 1)[:8]) % size.concepts
    shares = np.sort(rng.random((2, size.concepts, 8)) ** 8, -1)[..., ::-1]
    return {
        "cid": np.arange(size.concepts),
        "histogram": lists(rng.geometric(1e-3, (size.concepts, 20)) // (np.arange(20) + 1), pa.int64()),
        "coactive": lists(partners, pa.int32()),
        "coactivation": lists(shares[0], pa.float64()),
        "coactivation_shuffled": lists(shares[1], pa.float64()),
        "n_both": lists(rng.integers(1, 10_000, (size.concepts, 8)), pa.int64()),
    }


def _pairs(rng: np.random.Generator, labels: np.ndarray, kind: str, each: int, concepts: int) -> dict[str, Any]:
    """About ``each`` labels a concept; one pair in ten is assigned."""
    cid = np.repeat(np.arange(concepts), each)
    label = _some_labels(rng, np.arange(len(labels)), len(cid))
    key = np.unique(cid * len(labels) + label)
    cid, label = np.divmod(key, len(labels))
    iou = rng.beta(1, 8, len(key))
    assigned = rng.random(len(key)) < 0.1
    apart = np.random.default_rng(len(key))
    return {
        "kind": np.full(len(key), kind, object),
        "cid": cid,
        "label": labels[label],
        "iou": iou,
        "iou_heldout": iou * rng.random(len(key)),
        "iou_selection": iou * apart.random(len(key)),
        "q_value": apart.random(len(key)) * np.where(assigned, 0.05, 1.0),
        "lift_selection": 10 * apart.random(len(key)),
        "assigned": assigned,
        "paper_assigned": assigned | (rng.random(len(key)) < 0.05),
    }


def _examples(rng: np.random.Generator, size: Size) -> dict[str, Any]:
    """Three images in each of ten bins of every concept, eight cells of the map in each."""
    rows = size.concepts * 30
    ends = 8 * np.arange(rows + 1, dtype=np.int32)
    return {
        "cid": np.repeat(np.arange(size.concepts), 30),
        "bin": np.tile(np.repeat(np.arange(10), 3), size.concepts),
        "rank": np.tile(np.arange(3), size.concepts * 10),
        "prompt_id": rng.integers(0, size.prompts, rows),
        "map_indices": pa.ListArray.from_arrays(ends, pa.array(rng.integers(0, GRID**2, ends[-1]), pa.int32())),
        "grid": _pairs_of(GRID, rows),
        "map_values": pa.ListArray.from_arrays(ends, pa.array(rng.random(ends[-1]), pa.float32())),
    }


def milliseconds(root: Path, sql: str, calls: int = 5) -> tuple[float, float, int]:
    """(Median wall time, median CPU time of all threads, rows of the answer) over ``calls``.

    CPU time does not depend on what else the machine does; on two idle cores the wall time is at most that.
    """
    wall, cpu, rows = [], [], 0
    for _ in range(calls):
        started, used = time.perf_counter(), time.process_time()
        rows = query(root, sql).num_rows
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    return 1000 * statistics.median(wall), 1000 * statistics.median(cpu), rows


def settings() -> dict[str, Any]:
    """Those of the paper's protocol, whose sites and k these are: so that the explorer opens the folder, too."""
    return load_config(REPO / "configs" / "sd14.yaml", ["name=queries"]).model_dump(mode="json")


def measure(root: Path, size: Size) -> None:
    """Write the tables if they are not there, then print the times."""
    if not (root / "study.yaml").exists():
        started = time.perf_counter()
        write_tables(root, size)
        create_study(root, settings(), {})  # last: a folder without it is not whole
        print(f"written in {time.perf_counter() - started:.0f} s")
    for table in ("concept_labels", "concepts", "concept_examples", "segments", "prompts"):
        files = parts(root, table)
        megabytes = sum(f.stat().st_size for f in files) / 1e6
        print(f"{table}: {count_rows(root, table):,} rows in {len(files)} parts, {megabytes:.0f} MB")
    print("\n| question | rows | ms | CPU ms |\n| --- | --- | --- | --- |")
    slow = []
    for question, sql in questions().items():
        wall, cpu, rows = milliseconds(root, sql)
        slow += [question] * (wall > TARGET_MS)
        print(f"| {question} | {rows} | {wall:.0f} | {cpu:.0f} |", flush=True)
    print(f"\nabove {TARGET_MS} ms: {'; '.join(slow) or 'none'}")


def main() -> None:
    """Command line of the script."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--small", action="store_true", help="a study of one hundredth of the size")
    options.add_argument("--keep", type=Path, help="folder for the tables, kept; used again if it holds them")
    given = options.parse_args()
    size = SMALL if given.small else Size()
    if given.keep:
        measure(given.keep, size)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), size)


if __name__ == "__main__":
    main()
