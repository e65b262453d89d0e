"""Other readers see a table's parts as one table, with the same rows as ours."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.tables import read_table, table_folder
from tests.parts import add_part

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

SITE = {"block": "mid", "t": 0.5, "conditioning": "cond", "k": 10}
LABELS = ("st. john's wort", 'the "big" tree', "木", "дерево", "شجرة", "tree", "a;b,c\ttab", "🌳")


def concept(cid: int, label: str | None) -> dict[str, Any]:
    """Row of ``concepts``; without a label all that may be null is."""
    row = {**SITE, "cid": cid, "alive": cid % 2 == 0, "density": cid / 7, "act_mean": 0.5, "act_max": 1e-9}
    row |= {"n_images": 2**40 + cid, "decoder_norm": 1.0, "init_cosine": 0.125}
    if label is None:
        return row
    numbers = dict.fromkeys(("context_free_score", "cohesion", "coverage", "coverage_sd", "stability"), 0.25)
    selective = {"position_selectivity": 1 / 3, "colour_selectivity": 0.0}
    lists = {"embedding": [0.5, -0.25, cid], "colour": [255.0, 0.0, 1.5]}
    return {**row, **numbers, **selective, **lists, "top_label": label, "parent": None}


def segment(number: int) -> dict[str, Any]:
    """Row of ``segments``: lists of both kinds, a list of structs, a null."""
    return {
        "prompt_id": number // 2,
        "segment_id": number % 2,
        "label": LABELS[number % len(LABELS)],
        "backend": "mini",
        "tag_score": 1.0,
        "box_score": 0.5,
        "mask_score": 0.25,
        "box": [0.0, 1.5, 2.0, 3.0],
        "area_px": number,
        "rle_counts": list(range(number)),
        "rle_size": [64, 64],
        "iou_ceiling": [{"grid": "8x8", "value": 0.5}, {"grid": "16x16", "value": 0.75}],
        "second_opinion": None if number % 3 else 0.125,
    }


TABLES = {
    "concepts": [concept(i, LABELS[i] if i < len(LABELS) else None) for i in range(len(LABELS) + 3)],
    "segments": [segment(i) for i in range(11)],
    "tags": [{"prompt_id": i, "label": name, "score": 0.5, "tagger": "it's"} for i, name in enumerate(LABELS)],
}


def from_pandas(folder: Path) -> list[dict[str, Any]]:
    return pd.read_parquet(folder).to_dict("records")


def from_polars(folder: Path) -> list[dict[str, Any]]:
    return pl.read_parquet(folder / "*.parquet").to_dicts()


def from_lazy_polars(folder: Path) -> list[dict[str, Any]]:
    return pl.scan_parquet(folder / "*.parquet").collect().to_dicts()


def from_dask(folder: Path) -> list[dict[str, Any]]:
    frame = pytest.importorskip("dask.dataframe").read_parquet(folder)
    assert frame.npartitions > 1
    return frame.compute().to_dict("records")


def plain(value: Any) -> Any:
    """Arrays become lists, and what a reader puts for null becomes None."""
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items()}
    if isinstance(value, np.generic):
        value = value.item()
    return None if value is None or value is pd.NA or value != value else value


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("reader", [from_pandas, from_polars, from_lazy_polars, from_dask])
def test_a_reader_sees_the_rows_of_all_parts(tmp_path, table, reader: Callable[[Path], list[dict[str, Any]]]):
    rows = TABLES[table]
    for part, chosen in (("a", rows[::2]), ("b", rows[1::2])):
        add_part(tmp_path, table, part, chosen)
    ours = read_table(tmp_path, table).to_pylist()
    assert [{name: row.get(name) for name in ours[0]} for row in rows] == sorted_rows(table, ours)
    theirs = [{name: plain(v) for name, v in row.items()} for row in reader(table_folder(tmp_path, table))]
    assert sorted_rows(table, theirs) == sorted_rows(table, ours)


def sorted_rows(table: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = {"concepts": ("cid",), "segments": ("prompt_id", "segment_id"), "tags": ("prompt_id",)}[table]
    return sorted(rows, key=lambda row: tuple(row[name] for name in names))


def test_a_filter_on_a_label_with_a_quote_works_in_every_reader(tmp_path):
    for part, chosen in (("a", LABELS[::2]), ("b", LABELS[1::2])):
        rows = [{"prompt_id": i, "label": name, "score": 0.5, "tagger": "x"} for i, name in enumerate(chosen)]
        add_part(tmp_path, "tags", part, rows)
    folder = table_folder(tmp_path, "tags")
    for wanted in LABELS:
        assert len(pd.read_parquet(folder, filters=[("label", "==", wanted)])) == 1
        assert pl.scan_parquet(folder / "*.parquet").filter(pl.col("label") == wanted).collect().height == 1
