"""The ten documented questions give what a plain loop over the rows gives."""

from collections import defaultdict

import numpy as np
import pytest

from benchmarks.queries import Size, questions, write_tables
from storage.query import query
from storage.tables import read_table
from tests.parts import open_study

SITE = {"conditioning": "cond", "k": 10}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Drawn tables of 36 small SAEs, of concepts enough that each label asked for is some concept's."""
    root = tmp_path_factory.mktemp("study")
    write_tables(root, Size(concepts=40, labels=30, width=8, prompts=200, images=64, shard=32))
    open_study(root, {"name": "questions"}, {})
    return root


def answer(root, number):
    """Rows of one question's answer."""
    sql = next(sql for text, sql in questions().items() if text.startswith(f"{number}. "))
    return query(root, sql).to_pylist()


def rows(root, table, **wanted):
    """Rows of a table with the wanted values, those of one conditioning and k."""
    found = read_table(root, table).to_pylist()
    return [row for row in found if all(row[name] == value for name, value in {**SITE, **wanted}.items())]


def first(rows, key, count=12):
    return sorted(rows, key=key)[:count]


def test_there_are_ten_and_each_has_an_answer(root):
    assert [text.split(".")[0] for text in questions()] == [str(i) for i in range(1, 11)]
    assert all(answer(root, number) for number in range(1, 11))


def test_1_the_concepts_of_a_label(root):
    found = []
    for conditioning in ("cond", "uncond"):
        found += rows(
            root, "concept_labels", conditioning=conditioning, label="tree", t=0.5, kind="trained", assigned=True
        )
    expected = first(found, lambda r: (-r["iou_selection"], r["block"], r["conditioning"], r["cid"]))
    assert [(r["block"], r["cid"], r["q"]) for r in answer(root, 1)] == [
        (r["block"], r["cid"], r["q_value"]) for r in expected
    ]
    assert [r["se"] for r in answer(root, 1)] == [pytest.approx(r["iou_heldout_se"], abs=0.005) for r in expected]


def test_2_what_gains_and_what_loses(root):
    ends = defaultdict(dict)
    for row in rows(root, "concept_labels", kind="shared"):
        ends[row["block"], row["cid"], row["label"]][row["t"]] = row
    changed = []
    for key, at in ends.items():
        has = {t: t in at and at[t]["assigned"] for t in (1.0, 0.0)}
        iou = {t: at[t]["iou_selection"] if t in at else 0.0 for t in (1.0, 0.0)}
        if has[1.0] != has[0.0]:
            changed.append((abs(iou[0.0] - iou[1.0]), key, "gains" if has[0.0] else "loses"))
    expected = [(*key, meaning) for _, key, meaning in first(changed, lambda c: (-c[0], c[1]))]
    assert [(r["block"], r["cid"], r["label"], r["meaning"]) for r in answer(root, 2)] == expected
    assert {r["meaning"] for r in answer(root, 2)} == {"gains", "loses"}


def test_3_the_best_block_for_its_ceiling(root):
    found = rows(root, "concept_labels", label="grass", kind="trained", assigned=True)
    best = {}
    for row in found:
        share = row["iou_selection"] / row["ceiling"]
        if share > best.get(row["block"], (-1.0,))[0]:
            best[row["block"]] = (share, row["cid"], row["t"], pytest.approx(row["iou_heldout"], abs=0.006))
    assert {r["block"]: (r["cid"], r["t"], r["held_out"]) for r in answer(root, 3)} == {
        b: v[1:] for b, v in best.items()
    }


def test_4_what_only_the_papers_rule_takes(root):
    counts = defaultdict(list)
    for row in rows(root, "concept_labels", kind="trained", paper_assigned=True, assigned=False):
        counts[row["label"]].append(row)
    expected = first(counts.items(), lambda item: (-len(item[1]), item[0]))
    got = answer(root, 4)
    assert [(r["label"], r["pairs"]) for r in got] == [(label, len(of)) for label, of in expected]
    for row, (_, of) in zip(got, expected, strict=True):
        assert row["median_held_out"] == pytest.approx(np.median([r["iou_heldout"] for r in of]), abs=5e-4)
        assert row["no_discovery"] == sum(r["q_value"] > 0.05 for r in of)


def test_5_the_controls(root):
    found = rows(root, "label_controls", block="mid", t=0.0)
    assert [r["kind"] for r in answer(root, 5)] == [r["kind"] for r in first(found, lambda r: -r["label_iou"])]


def test_6_concepts_that_meet_several_labels(root):
    named = defaultdict(list)
    for row in rows(root, "concept_labels", kind="trained", t=0.0):
        if row["q_value"] <= 0.05 and (row["lift_selection"] or 0) >= 1.5:
            named[row["block"], row["cid"]].append((-row["iou_selection"], row["label"]))
    concepts = {(r["block"], r["cid"]): r for r in rows(root, "concepts", t=0.0)}
    several = [key for key, labels in named.items() if len(labels) > 1]
    expected = first(several, lambda key: (concepts[key]["parent"] is None, -concepts[key]["cohesion"], key))
    assert [(r["block"], r["cid"]) for r in answer(root, 6)] == expected
    assert [r["labels"] for r in answer(root, 6)] == [", ".join(n for _, n in sorted(named[key])) for key in expected]


def test_7_what_concepts_are_bound_to(root):
    concepts = [r | {"place": 1 - r["context_free_score"]} for r in rows(root, "concepts", t=0.0)]
    concepts = [r for r in concepts if r["n_images"] >= 10]
    columns = {"colours": "colour_selectivity", "image": "coverage", "place": "place"}
    expected = [
        (name, r["block"], r["cid"])
        for name, column in columns.items()
        for r in first(concepts, lambda r, column=column: -r[column], 3)
    ]
    assert [(r["property"], r["block"], r["cid"]) for r in answer(root, 7)] == expected


def test_8_what_the_second_opinion_contradicts(root):
    counts = defaultdict(lambda: [0, 0])
    for row in read_table(root, "segments").to_pylist():
        counts[row["label"]][0] += 1
        counts[row["label"]][1] += row["second_opinion"] < 0.3
    expected = first(counts.items(), lambda item: (-item[1][1], item[0]))
    assert [(r["label"], [r["segments"], r["contradicted"]]) for r in answer(root, 8)] == expected


def test_9_the_nearest_concepts(root):
    here = rows(root, "concepts", block="mid", t=0.0)
    boat = first([r for r in here if r["top_label"] == "boat"], lambda r: (-r["n_images"], r["cid"]), 1)[0]

    def cosine(row):
        a, b = np.array(row["embedding"], float), np.array(boat["embedding"], float)
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    expected = first(
        [r for r in here if r["top_label"] not in (None, "boat")], lambda r: (-round(cosine(r), 2), r["cid"])
    )
    assert [r["cid"] for r in answer(root, 9)] == [r["cid"] for r in expected]
    assert [r["cosine"] for r in answer(root, 9)] == [pytest.approx(cosine(r), abs=0.006) for r in expected]


def test_10_examples_with_their_captions(root):
    pairs = rows(root, "concept_labels", block="mid", t=0.0, label="cloud", kind="trained", assigned=True)
    cid = first(pairs, lambda r: -r["iou_selection"], 1)[0]["cid"]
    examples = rows(root, "concept_examples", block="mid", t=0.0, cid=cid, rank=0)
    captions = dict(zip(*(read_table(root, "prompts")[c].to_pylist() for c in ("prompt_id", "caption")), strict=True))
    expected = [(cid, r["bin"], captions[r["prompt_id"]]) for r in sorted(examples, key=lambda r: r["bin"])]
    assert [(r["cid"], r["bin"], r["caption"]) for r in answer(root, 10)] == expected
