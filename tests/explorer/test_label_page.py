"""What a label's page picks out of a table of millions of rows: the best of every site and kind, and its images."""

import numpy as np
import pyarrow as pa
import pytest

from explorer.addresses import At
from explorer.label_page import BEST, PLACE, READ, strongest
from explorer.missing import BEST as CARRYING
from explorer.missing import best_carrying, concepts_of, images_of, known_labels
from explorer.source import Source
from storage.schemas import SCHEMAS
from study.config import load_config
from tests.explorer.conftest import row
from tests.parts import add_part, label_row, open_study
from tests.paths import ROOT


@pytest.mark.parametrize("seed", range(5))
def test_the_strongest_are_those_that_a_walk_through_all_rows_finds(seed):
    rng = np.random.default_rng(seed)
    rows = [
        row("concept_labels", block=str(rng.choice(["mid", "up"])), t=float(rng.choice([0.0, 0.5])), cid=cid)
        | {"kind": str(rng.choice(["trained", "shared"])), "iou_selection": float(rng.integers(4)) / 4}
        for cid in range(int(rng.integers(0, 60)))
    ]
    rows = [{name: one[name] for name in READ} for one in rows]
    found = strongest(pa.Table.from_pylist(rows, schema=pa.schema([SCHEMAS["concept_labels"].field(n) for n in READ])))
    expected = []
    for place in sorted({tuple(one[name] for name in PLACE) for one in rows}):
        here = [one for one in rows if tuple(one[name] for name in PLACE) == place]
        expected += sorted(here, key=lambda one: (-one["iou_selection"], one["cid"]))[:BEST]
    assert found == expected


def test_a_labels_images_are_counted_once_each_in_the_order_of_their_numbers(tmp_path):
    open_study(tmp_path, load_config(ROOT / "configs" / "tiny.yaml").model_dump(mode="json"), {})
    source = Source(tmp_path)
    assert known_labels(source) == {} and images_of(source, "tree") == []
    shown = {"000000": [(7, "tree"), (7, "tree"), (3, "sky"), (3, "tree")], "000001": [(12, "sky"), (11, "sky")]}
    for part, pairs in shown.items():
        mask = {"box": [0, 0, 8, 8], "rle_counts": [64], "rle_size": [8, 8]}
        rows = [row("segments", prompt_id=i, segment_id=n, label=label, **mask) for n, (i, label) in enumerate(pairs)]
        add_part(tmp_path, "segments", part, rows)
    source = Source(tmp_path)
    assert list(known_labels(source).items()) == [("sky", 3), ("tree", 2)]
    assert images_of(source, "tree") == [3, 7] and images_of(source, "sky") == [3, 11, 12]


def test_the_concepts_that_carry_a_label_best_are_those_that_a_walk_through_all_rows_finds(tmp_path):
    open_study(tmp_path, load_config(ROOT / "configs" / "tiny.yaml").model_dump(mode="json"), {})
    rng, rows = np.random.default_rng(0), []
    for t in (0.0, 1.0):
        part = [
            label_row(cid, float(rng.integers(4)) / 4, t=t, label=str(label), assigned=bool(rng.integers(2)), kind=kind)
            for cid in range(12)
            for label in ("tree", 'it\'s a "tree"', "sky")
            for kind in ("trained", "shared")
        ]
        add_part(tmp_path, "concept_labels", f"{t}", part)
        rows += [one for one in part if one["assigned"] and one["kind"] == "trained"]
    source = Source(tmp_path)
    assert best_carrying(source, "nobody's") == [] and sorted(known_labels(source)) == sorted(
        {r["label"] for r in rows}
    )
    for label in known_labels(source):
        own = sorted(
            (row for row in rows if row["label"] == label),
            key=lambda row: (-row["iou_selection"], row["block"], row["t"], row["conditioning"], row["k"], row["cid"]),
        )
        found = best_carrying(source, label)
        assert len(own) > CARRYING == len(found)
        assert found == [{name: row[name] for name in found[0]} for row in own[:CARRYING]]


def test_concepts_are_looked_up_one_by_one_as_in_a_table(tmp_path):
    open_study(tmp_path, load_config(ROOT / "configs" / "tiny.yaml").model_dump(mode="json"), {})
    source, at = Source(tmp_path), At("mid", 0.5, "cond", 4)
    assert dict(concepts_of(source, at)) == {}
    facts = {7: ("tree", 2.5, 0.25), 3: (None, 0.0, 0.0), 4: ("sky", 1.5, 0.5)}
    rows = [
        row("concepts", **at.columns, cid=cid, top_label=label, act_max=top, density=density)
        for cid, (label, top, density) in facts.items()
    ]
    add_part(tmp_path, "concepts", "a", rows)
    found = concepts_of(source.refreshed(), at)
    assert dict(found) == facts and list(found) == [3, 4, 7] and found.densities.tolist() == [0.0, 0.5, 0.25]
    assert [cid in found for cid in (2, 3, 5, 8)] == [False, True, False, False]
