"""The detectors of a label: of each method the one that the even images chose, beside the dictionaries' best."""

import numpy as np
import pytest

from explorer.detectors import beside, detectors, is_dictionary
from explorer.source import Source
from study.config import load_config
from tests.explorer.conftest import BENCHED, row
from tests.explorer.test_pages import page
from tests.parts import add_part, open_study
from tests.paths import ROOT

METHODS = ("trained", "shared", "probe", "pca", "frozen", "somebody's")


def opened(folder, rows):
    open_study(folder, load_config(ROOT / "configs" / "tiny.yaml").model_dump(mode="json"), {})
    if rows:
        add_part(folder, "bench", "1.00-cond", rows)
    return Source(folder)


def benched(rng, **given):
    """A row of a random method at a random place, with values that often tie."""
    f1 = float(rng.integers(10)) / 10
    spread = float(rng.integers(1, 4)) / 20
    place = {"block": str(rng.choice(["mid", "up"])), "t": float(rng.choice([0.0, 1.0])), "conditioning": "cond"}
    of = {"method": str(rng.choice(METHODS)), "scope": str(rng.choice(["image", "cell"])), "kind": "object"}
    measured = {"f1": f1, "f1_ci_low": f1 - spread, "f1_ci_high": f1 + spread}
    chosen = {"cid": int(rng.integers(100)), "f1_chosen": float(rng.integers(5)) / 5}
    return row("bench", **place, **of, **measured, **chosen, label="tree", k=4) | given


@pytest.mark.parametrize("seed", range(5))
def test_each_method_stands_once_where_the_even_images_have_it_best(tmp_path, seed):
    rng = np.random.default_rng(seed)
    rows = list({(r["block"], r["t"], r["method"], r["scope"]): r for r in (benched(rng) for _ in range(60))}.values())
    others = [benched(rng, label="boat", f1_chosen=2.0), benched(rng, k=8, f1_chosen=2.0)]
    found = detectors(opened(tmp_path, rows + others), "tree", 4)
    assert found["missing"] == "" and [t["question"][:2] for t in found["tables"]] == ["Is", "In"]
    for table, scope in zip(found["tables"], ("image", "cell"), strict=True):
        there = [r for r in rows if r["scope"] == scope]
        expected = [
            min((r for r in there if r["method"] == m), key=lambda r: (-r["f1_chosen"], r["block"], r["t"]))
            for m in {r["method"] for r in there}
        ]
        assert {(r["method"], r["block"], r["t"], r["cid"]) for r in expected} == {
            (r["method"], r["block"], r["t"], r["cid"]) for r in table["lines"]
        }
        assert len(table["lines"]) == len(expected)
        assert [r["f1_chosen"] for r in table["lines"]] == sorted((r["f1_chosen"] for r in expected), reverse=True)
        trained = [r["f1_chosen"] for r in expected if r["method"] in ("trained", "shared", "somebody's")]
        (own,) = [r for r in table["lines"] if r["own"]]
        assert own["method"] in ("trained", "shared", "somebody's") and own["f1_chosen"] == max(trained)
        assert own["beside"] == "" and all(r["beside"] for r in table["lines"] if r is not own)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.1, 0.39, "below it"), (0.1, 0.4, "not apart"), (0.6, 0.9, "not apart"), (0.61, 0.9, "above it")],
)
def test_intervals_that_touch_are_not_apart(low, high, said):
    assert beside({"f1_ci_low": low, "f1_ci_high": high}, {"f1_ci_low": 0.4, "f1_ci_high": 0.6}) == said


def test_a_method_that_the_bench_does_not_know_is_a_dictionary_of_a_user():
    assert [is_dictionary(one) for one in ("trained", "shared", "mine", "probe", "nmf", "untrained")] == [True] * 3 + [
        False
    ] * 3


def test_without_a_bench_the_command_is_named_and_without_the_label_it_is_said(tmp_path):
    assert "`concepts bench` writes them" in detectors(opened(tmp_path / "a", []), "tree", 4)["missing"]
    other = detectors(opened(tmp_path / "b", [benched(np.random.default_rng(0))]), "boat", 4)
    assert "no label of this name" in other["missing"] and other["tables"] == []


def test_the_page_shows_them_and_leads_to_the_concept(client):
    found = page(client, "/label/tree")
    shown = {repr(f1) for method, t, _, _, f1, *_ in BENCHED if (method, t) != ("trained", 0.5)}
    assert shown <= set(found.values) and repr(0.89) not in found.values  # where it was not chosen
    assert "/mid/1.00/cond/k4/0" in found.links
    text = found.text[found.text.index("Detectors,") :]
    of = [text.index(f"{method} {told}") for method, told in (("probe", "supervised"), ("trained", "the study's"),
          ("neurons", "baseline"), ("mine", "a dictionary that was given"), ("untrained", "control"))]  # fmt: skip
    assert of == sorted(of)
