"""How a concept fires, and with which others, on its page: the table's own numbers, drawn to scale, told in words."""

import re
import shutil

import numpy as np
import pytest
from starlette.testclient import TestClient

import concept_atlas
from explorer.activity import UNCOUNTED
from explorer.app import application
from explorer.bars import Bar, BarChart
from explorer.export import export_site
from explorer.source import Source
from tests.explorer.conftest import SCRIPT, row
from tests.explorer.test_pages import Found, page, rows
from tests.parts import add_part

CONCEPT = "/mid/0.50/cond/k4/0"


def bars_of(found):
    return [given for tag, given in found.tags if tag == "rect"]


def counting(text, what):
    """The bars of a page that count positions, or concepts: each bar's title ends with what it counts."""
    titles = re.findall(r"<rect [^>]*><title>([^<]*)</title>", text)
    return [bar for bar, said in zip(bars_of(Found(text)), titles, strict=True) if said.endswith(what)]


def test_a_concepts_histogram_has_the_tables_counts_and_parts_up_to_its_largest_activation(client, source):
    found = page(client, CONCEPT)
    (counted,) = rows(source, "concept_activity", t=0.5, cid=0)
    strengths = counting(client.get(CONCEPT).text, "positions")
    assert [int(bar["data-value"]) for bar in strengths] == [n for n in counted["histogram"] if n]
    assert {repr(value) for value in (0.125, 0.25, 2.375, 2.5)} <= set(found.values)  # of 20 parts up to 2.5
    told = [given["aria-label"] for tag, given in found.tags if tag == "svg"]
    assert "Histogram of 1,504 positions by activation; most in 0.125 to 0.25: 1,500" in told
    assert "positions, log scale" in found.text and "0.25 to 0.375: 3 positions" in found.text


def test_its_density_stands_among_those_of_its_dictionary(client, source):
    first, second = page(client, CONCEPT), page(client, "/mid/0.50/cond/k4/1")
    density = [r["density"] for r in rows(source, "concepts", t=0.5)]
    assert repr(density[0]) in first.values and repr(density[1]) in second.values
    for found, less in ((first, 1), (second, 0)):
        assert f"Of the other concepts of this dictionary that fire at all, {less} of 1 fire more rarely" in found.text
        (own,) = [bar for bar in bars_of(found) if "own" in bar["class"]]
        assert own["data-value"] == "1"
    # 0.123 and 0.062 are in neighbouring half decades: one bar each, of which the page's own is marked
    assert [bar["class"] for bar in bars_of(first)][-2:] == ["bar", "bar own"]
    assert [bar["class"] for bar in bars_of(second)][-2:] == ["bar own", "bar"]


def test_what_fires_with_it_stands_beside_what_images_at_random_would_give(client, source):
    found = page(client, CONCEPT)
    (counted,) = rows(source, "concept_activity", t=0.5, cid=0)
    numbers = [counted["coactivation"][0], counted["coactivation_shuffled"][0]]
    assert {repr(value) for value in numbers} | {"5"} <= set(found.values)
    meanings = concept_atlas.meanings("concept_activity")
    titles = [given["title"] for tag, given in found.tags if tag == "abbr"]
    assert meanings["coactivation_shuffled"] in titles and meanings["n_both"] in titles
    assert "/mid/0.50/cond/k4/1" in found.links[found.links.index("/label/tree") :]
    assert "/label/tree" in page(client, "/mid/0.50/cond/k4/1").links  # the label of 0, which fires with 1


def test_a_study_that_was_labelled_before_says_what_to_run_and_shows_how_often_it_fires(client, source):
    found = page(client, "/mid/1.00/cond/k4/0")
    assert found.text.count(UNCOUNTED) == 2 and "concepts revise" in UNCOUNTED
    assert ["own" in bar["class"] for bar in bars_of(found)] == [False, True] and "fire more rarely" in found.text
    with pytest.raises(concept_atlas.AtlasError, match="`concepts revise` and then `concepts run` label it anew"):
        source.atlas.at("mid", 1.0).concept(0).nearest(by="coactivation")


def test_a_site_shows_the_same_and_links_to_no_concept_without_a_page(root, tmp_path, client):
    export_site(root, tmp_path / "site", concepts=1)
    site = Found((tmp_path / "site" / "concept/mid/0.50/cond/k4/0.html").read_text())
    served = page(client, CONCEPT)
    assert bars_of(site) == bars_of(served) and set(served.values) == set(site.values)
    assert "/mid/0.50/cond/k4/1" in served.links and not any(link.endswith("k4/1.html") for link in site.links)


@pytest.fixture
def odd(tmp_path, root):
    """A dictionary of four: two labelled with a script, one that fires alone, one that never does."""
    study = tmp_path / "study"
    study.mkdir()
    shutil.copy(root / "study.yaml", study)
    site = {"block": "mid", "t": 0.5, "conditioning": "cond", "k": 4}
    concepts = [
        row("concepts", **site, cid=cid, alive=density > 0, density=density, act_max=top, top_label=label)
        for cid, density, top, label in (
            (0, 1.0, 2.0, SCRIPT), (1, 1e-6, 1.0, SCRIPT), (2, 0.01, 1.0, None), (3, 0.0, 0.0, None)
        )
    ]  # fmt: skip
    add_part(study, "concepts", "a", concepts)
    on = [0] * 19 + [4]
    pairs = {"coactivation": [0.5], "coactivation_shuffled": [0.25], "n_both": [1]}
    alone = {name: [] for name in (*pairs, "coactive")}
    activity = [
        row("concept_activity", **site, cid=0, histogram=on, coactive=[1], **pairs),
        row("concept_activity", **site, cid=1, histogram=on, coactive=[0], **pairs),
        row("concept_activity", **site, cid=2, histogram=on, **alone),
        row("concept_activity", **site, cid=3, histogram=[0] * 20, **alone),
    ]
    add_part(study, "concept_activity", "a", activity)
    return study


def test_labels_are_text_and_concepts_that_fire_alone_or_never_say_so(odd):
    client = TestClient(application(Source(odd)), base_url="http://127.0.0.1:8600")
    asked = {cid: client.get(f"/mid/0.50/cond/k4/{cid}").text for cid in range(4)}
    assert all("<script>alert" not in text for text in asked.values())
    text = {cid: Found(answer).text for cid, answer in asked.items()}
    assert SCRIPT in text[0] and SCRIPT in text[1]
    assert "No other concept of this dictionary ever fires where it does." in text[2]
    assert "It fires nowhere." in text[3] and "more rarely" not in text[3] and bars_of(Found(asked[3])) == []
    # from 1e-6 to 1 in half decades: the ends, and 0.01, which begins a bar
    densities = counting(asked[0], "concepts")  # in half decades: the lowest, that of 0.01, and the highest
    assert len(densities) == 3 and "own" in densities[-1]["class"]


def test_heights_go_by_the_logarithm_and_one_is_to_be_seen():
    counts = [1, 10, 100, 0, 1000]
    chart = BarChart("activation", "positions", [Bar(i, i + 1, n) for i, n in enumerate(counts)], [(0, "0"), (5, "5")])
    drawn = bars_of(Found(chart.svg))
    heights = np.array([float(bar["height"]) for bar in drawn])
    assert len(drawn) == 4 and heights[0] > 5 and np.diff(heights) == pytest.approx([np.diff(heights)[0]] * 3, abs=0.2)
    rules = [float(given["y1"]) for tag, given in Found(chart.svg).tags if given.get("class") == "rule"]
    assert rules == [float(bar["y"]) for bar in drawn]  # a rule at 1, 10, 100 and 1,000
    gaps = np.diff([float(bar["x"]) for bar in drawn])
    assert gaps[2] == pytest.approx(2 * gaps[0], abs=0.2)
    large = BarChart("a", "b", [Bar(0, 1, 2_000_000)], [])
    assert {"1", "10", "1k", "100k", "1M"} <= set(Found(large.svg).text.split())
