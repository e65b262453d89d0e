"""Two dictionaries or concepts side by side, and lists that an address carries: each number is its table's."""

import shutil

import numpy as np
import pytest
from starlette.testclient import TestClient

from explorer.app import application
from explorer.list_page import LONGEST_LIST
from explorer.source import Source
from tests.explorer.conftest import SCRIPT
from tests.explorer.test_pages import page, rows
from tests.parts import add_part, label_row

HALF, NOISE = "mid/0.50/cond/k4", "mid/1.00/cond/k4"


@pytest.fixture
def grown(root, tmp_path):
    """The study, in which a dictionary has a label that the other lacks."""
    study = shutil.copytree(root, tmp_path / "study")
    add_part(study, "concept_labels", "more", [label_row(1, 0.7, t=0.5, label="boat", iou_heldout=0.61)])
    source = Source(study)
    return source, TestClient(application(source), base_url="http://localhost")


def test_dictionaries_are_compared_by_the_labels_that_they_carry(grown):
    source, client = grown
    found = page(client, f"/compare?a={NOISE}&b={HALF}")
    assert "Labels carried by both: 1. By mid/1.00/cond/k4 alone: 0. By mid/0.50/cond/k4 alone: 1." in found.text
    tree = {r["t"]: r["iou_heldout"] for r in rows(source, "concept_labels", label="tree", kind="trained")}
    values = [float(value) for value in found.values if value not in ("true", "false")]
    assert values.index(tree[1.0]) < values.index(tree[0.5]) < values.index(0.61)
    assert {"/mid/1.00/cond/k4/0", "/mid/0.50/cond/k4/0", "/mid/0.50/cond/k4/1"} <= set(found.links)
    assert "boat not carried" in found.text and SCRIPT not in found.text  # overlapped, and given to nobody
    assert "By mid/0.50/cond/k4 alone: 1. By" in page(client, f"/compare?a={HALF}&b={NOISE}").text


@pytest.fixture
def beside(root, grown):
    """The study and, as the other one, itself grown by a label of its own."""
    return TestClient(application(Source(root, other=grown[0])), base_url="http://localhost")


def test_a_study_is_compared_with_another_as_a_whole_and_by_dictionary(beside, grown):
    first = page(beside, "/compare")
    assert {"/compare?a=study&b=other%3Astudy", f"/compare?a={HALF}&b=other%3A{HALF}"} <= set(first.links)
    named = {"study": ("study tiny", "study tiny, the other one"), HALF: (HALF, f"{HALF} of the other study tiny")}
    for a, (own, other) in named.items():
        found = page(beside, f"/compare?a={a}&b=other:{a}")
        assert f"Labels carried by both: 1. By {own} alone: 0. By {other} alone: 1." in found.text
        (lone,) = rows(grown[0], "concept_labels", label="boat", kind="trained", assigned=True)
        assert repr(lone["iou_heldout"]) in found.values
        assert f"/{HALF}/1" not in found.links  # of the other study, whose concepts have no page here
    (tree,) = [
        r for r in rows(grown[0], "concept_labels", label="tree", kind="trained", assigned=True) if r["t"] == 0.5
    ]
    best = max(rows(grown[0], "concept_labels", label="tree", kind="trained"), key=lambda r: r["iou_selection"])
    whole = page(beside, "/compare?a=study&b=other:study")
    assert f"of mid/{best['t']:.2f}/cond/k4" in whole.text and repr(best["iou_heldout"]) in whole.values
    assert page(beside, f"/compare?a=other:{HALF}&b={HALF}").text.count("not carried") == 1 and tree


def test_what_two_studies_have_no_comparison_for_is_told(beside, client):
    for asked, a, b, said in (
        (beside, HALF, "other:study", "a study with the other one"),
        (beside, f"{HALF}/0", f"other:{HALF}/0", "within one study"),
        (beside, HALF, "other:mid/0.70/cond/k4", "no dictionary mid/0.70/cond/k4"),
        (client, HALF, f"other:{HALF}", "No other study is open: start the explorer with --compare"),
    ):
        answer = asked.get("/compare", params={"a": a, "b": b})
        assert answer.status_code == 404 and said in answer.text, answer.text


def test_concepts_are_compared_by_labels_images_facts_and_their_cosine(client, source, monkeypatch):
    vectors = np.array([[0.6, 0.8], [1.0, 0.0]], np.float32)
    monkeypatch.setattr("concept_atlas.SiteView.vectors", property(lambda self: vectors))
    found = page(client, f"/compare?a={HALF}/0&b={NOISE}/1")
    assert repr(float(vectors[0] @ vectors[1])) in found.values
    labels = rows(source, "concept_labels", kind="trained")
    wanted = [r["iou_selection"] for r in labels if (r["t"], r["cid"]) in ((0.5, 0), (1.0, 1))]
    facts = [rows(source, "concepts", t=t, cid=cid)[0]["density"] for t, cid in ((0.5, 0), (1.0, 1))]
    assert {repr(value) for value in (*wanted, *facts)} <= set(found.values)
    assert SCRIPT in found.text and "among the strongest of both: 0" in found.text
    (shown,) = [given for tag, given in found.tags if "data-cells" in given]
    assert shown["data-grid"] == "2 2"
    same = page(client, f"/compare?a={HALF}/0&b={HALF}/0")
    assert "among the strongest of both: 1" in same.text


def test_what_cannot_be_compared_is_told(client):
    for a, b, said in (
        (HALF, f"{NOISE}/1", "A concept is compared with a concept"),
        (HALF, "mid", "neither a dictionary"),
        (HALF, "mid/0.70/cond/k4", "no dictionary mid/0.70/cond/k4"),
        (f"{HALF}/0", f"{HALF}/9", "has no concept 9"),
        (HALF, SCRIPT, "neither a dictionary"),
    ):
        answer = client.get("/compare", params={"a": a, "b": b})
        assert answer.status_code == 404 and said in answer.text and "<script>alert" not in answer.text


def test_a_list_is_carried_by_its_address(client, source):
    asked = {"c": [f"{HALF}/0", "mid/0.50/cond/k4/9", HALF, SCRIPT, f"{HALF}/1"], "n": [SCRIPT, "", "a"]}
    answer = client.get("/list", params=asked)
    assert answer.status_code == 200 and "<script>alert" not in answer.text
    for said in ("has no concept 9", "This is a dictionary", "neither a dictionary", "&lt;script&gt;"):
        assert said in answer.text
    found = page(client, f"/list?c={HALF}/0&n=why")
    (label,) = rows(source, "concept_labels", t=0.5, cid=0, kind="trained")
    assert {repr(label["iou_selection"]), repr(label["iou_heldout"])} <= set(found.values)
    assert f"/{HALF}/0" in found.links and any(given.get("value") == "why" for _, given in found.tags)


def test_a_list_has_an_end(client):
    answer = client.get("/list", params={"c": ["x"] * (LONGEST_LIST + 3)})
    assert answer.status_code == 200 and "3 more are left out" in answer.text
