"""Every number of a page is its table's, everything that a table holds is escaped, and a page leads on to others."""

import html
import re
import struct
from base64 import b64decode
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

import concept_atlas
from concept_atlas import AtlasError, Codes
from explorer import missing
from explorer.charts import Panel, Point, Series, drawn, time_axis, top_of
from explorer.figure import COLOURS, EXPLAINED, KINDS, METHODS, TOLD
from explorer.home import home
from explorer.source import Source
from tests.explorer.conftest import SCRIPT

PAGES = ("/", "/label/tree", "/mid/0.50/cond/k4/0", "/mid/1.00/cond/k4/1", "/image/0", "/search?q=tree", "/search?q=1")
PAGES += (
    *("/edit", "/edit?image=0", "/compare", "/compare?a=mid/0.50/cond/k4&b=mid/1.00/cond/k4"),
    *("/compare?a=mid/0.50/cond/k4/0&b=mid/1.00/cond/k4/1", "/list", "/list?c=mid/0.50/cond/k4/0&n=why"),
)


class Found(HTMLParser):
    """What a page holds: exact values, elements by name, addresses that it leads to, and its text."""

    def __init__(self, text):
        super().__init__()
        self.values, self.tags, self.links, self.said, self.dots = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append((tag, given))
        if tag == "data":
            self.values.append(given["value"])
        if tag == "circle":
            self.dots.append(float(given["data-value"]))
        self.links += [given[name] for name in ("href", "src") if name in given]

    def handle_data(self, data):
        self.said.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.said).split())


def page(client, address, status=200):
    answer = client.get(address)
    assert answer.status_code == status, answer.text
    return Found(answer.text)


def rows(source, table, **where):
    return source.atlas.rows(table, None, where).to_pylist()


def test_the_first_page_draws_and_lists_what_the_tables_hold(client, source):
    found = page(client, "/")
    first = [r["explained_variance"] for r in rows(source, "sae_metrics", seed=0)]
    labels = rows(source, "label_controls")
    layouts = [r["iou"] for r in rows(source, "layout_scores", label="*", method=["posterior", "position"])]
    edits = [r["success"] for r in rows(source, "intervention_effects", target="*")]
    drawn_values = sorted(first + [r["n_labels"] for r in labels] + [r["label_iou"] for r in labels] + layouts + edits)
    assert sorted(found.dots) == drawn_values and 0.4 not in found.dots
    listed = {float(value) for value in found.values if value not in ("true", "false")}
    of = rows(source, "layout_scores", label="*", method=["posterior", "position"])
    ends = {r[f"iou_ci_{end}"] for r in of for end in ("low", "high")}
    spans = {r["explained_variance"] for r in rows(source, "sae_metrics", kind="trained")}
    assert set(drawn_values) <= listed and spans | ends <= listed


def test_windows_stand_from_noise_to_image_whatever_their_names(client, source):
    found = page(client, "/")
    text = found.text
    assert text.index("early", text.index("Edits")) < text.index("late", text.index("Edits"))


def test_a_half_made_study_says_which_command_makes_the_rest(client):
    found = page(client, "/")
    assert "Not finished" in found.text and "concepts collect" in found.text and "concepts layout" in found.text


def test_a_label_shows_its_best_concepts_their_controls_layouts_and_edits(client, source):
    found = page(client, "/label/tree")
    trained = rows(source, "concept_labels", label="tree", kind="trained")
    control = rows(source, "concept_labels", label="tree", kind="untrained")
    layouts = rows(source, "layout_scores", label="tree", method=["posterior", "position"])
    edits = rows(source, "intervention_effects", target="tree")
    drawn_values = [r["iou_heldout"] for r in trained + control] + [r["iou"] for r in layouts]
    assert sorted(found.dots) == sorted(drawn_values + [r["success"] for r in edits])
    best = max(trained, key=lambda r: r["iou_selection"])
    assert {repr(best[name]) for name in ("iou_selection", "iou_heldout", "ceiling", "q_value")} <= set(found.values)
    high = trained[0]["iou_heldout"] + 1.959964 * trained[0]["iou_heldout_se"]
    assert any(abs(float(value) - high) < 1e-12 for value in found.values if value not in ("true", "false"))
    assert {"/mid/0.50/cond/k4/0", "/image/0", "/image/0/picture"} <= set(found.links)


def test_a_concept_shows_its_evidence_facts_maps_and_partners(client, source):
    found = page(client, "/mid/0.50/cond/k4/0")
    (label,) = rows(source, "concept_labels", t=0.5, cid=0, kind="trained")
    (facts,) = rows(source, "concepts", t=0.5, cid=0)
    (example,) = rows(source, "concept_examples", t=0.5, cid=0)
    columns = ("iou", "iou_se", "iou_heldout", "iou_heldout_se", "ceiling", "precision", "lift")
    wanted = [label[name] for name in columns]
    wanted += [facts["density"], facts["act_max"], example["act_max"]]
    assert {repr(value) for value in wanted} <= set(found.values)
    (shown,) = [given for tag, given in found.tags if "data-cells" in given]
    first, second = example["map_values"]
    read = list(struct.iter_unpack("<Hf", b64decode(shown["data-cells"])))
    assert shown["data-grid"] == "2 2" and read == [(1, first), (2, second)]


def test_what_a_column_means_is_told_where_it_stands(client):
    found = page(client, "/mid/0.50/cond/k4/0")
    titles = [given["title"] for tag, given in found.tags if tag == "abbr"]
    meanings = concept_atlas.meanings("concept_labels")
    assert meanings["iou_heldout"] in titles and meanings["ceiling"] in titles
    found = page(client, "/mid/1.00/cond/k4/0")
    assert concept_atlas.meanings("concept_matches")["cosine"] in [given.get("title") for _, given in found.tags]


def test_partners_are_followed_in_both_directions_beside_the_other_seed(client, source):
    (link, _) = rows(source, "concept_matches", chosen_by="cosine")
    onward = page(client, "/mid/1.00/cond/k4/0")
    assert {repr(link[name]) for name in ("cosine", "cosine_other_seed", "coactivation")} <= set(onward.values)
    assert "/mid/0.50/cond/k4/1" in onward.links
    back = page(client, "/mid/0.50/cond/k4/1")  # of two that lead here the mutual one, 1, is followed back
    steps = [given for tag, given in back.tags if "data-codes" in given]
    assert "/mid/1.00/cond/k4/1" in back.links and steps == []  # without an image that excites it there is no map
    maps = [given for tag, given in onward.tags if "data-codes" in given]
    assert {(one["data-codes"], one["data-cid"]) for one in maps} == {
        ("/image/0/codes/mid/1.00/cond/k4", "0"), ("/image/0/codes/mid/0.50/cond/k4", "1")
    }  # fmt: skip


def test_without_a_dictionary_the_page_says_so_and_shows_the_rest(client):
    assert "holds no SAE that a record names: run `concepts train`" in page(client, "/mid/0.50/cond/k4/0").text


def test_an_image_has_its_caption_its_masks_and_every_dictionary(client, source):
    found = page(client, "/image/0")
    assert SCRIPT in found.text
    masks = source.atlas.segments(0)
    assert set(masks) == {"tree", SCRIPT}
    for given in [given for _, given in found.tags if "data-segment" in given]:
        runs, size = [int(n) for n in given["data-runs"].split()], [int(n) for n in given["data-size"].split()]
        flat = np.concatenate([np.full(n, i % 2 == 1) for i, n in enumerate(runs)])
        masks = {label: mask for label, mask in masks.items() if not np.array_equal(mask, flat.reshape(size))}
    assert masks == {}  # each was one of them, pixel by pixel
    options = [given for tag, given in found.tags if tag == "option" and "data-block" in given]
    assert [(o["data-block"], o["data-conditioning"], o["data-k"]) for o in options] == [("mid", "cond", "4")]
    assert client.get("/image/0/picture").content == rows(source, "images", prompt_id=0)[0]["image"]


def test_codes_are_those_of_the_site_strongest_first_with_labels(client, source, monkeypatch):
    values = np.array([[0.5, 2.0], [1.0, 1.0], [0.0, 0.0], [0.25, 0.1]], np.float32).reshape(2, 2, 2)
    cids = np.array([[0, 1], [1, 0], [0, 1], [7, 1]]).reshape(2, 2, 2)  # there is no concept 7
    layouts = {"tree": np.array([[False, True], [True, False]])}
    asked = {"codes": lambda self, prompt_id: Codes(values, cids), "layouts": lambda self, prompt_id, codes: layouts}
    view = type("View", (), asked)()
    monkeypatch.setattr(source, "view", lambda *at: view)
    answer = client.get("/image/1/codes/mid/0.50/cond/k4").json()
    assert answer["grid"] == [2, 2] and answer["path"] == "mid/0.50/cond/k4"
    assert answer["cells"] == [[[1, 2.0], [0, 0.5]], [[0, 1], [1, 1]], [], [[7, 0.25], [1, float(np.float32(0.1))]]]
    assert answer["concepts"] == {"0": ["tree", 2.5], "1": [None, 2.5]}
    assert answer["layouts"] == {"tree": [1, 2]}


def test_codes_that_cannot_be_read_are_told_in_a_sentence(client):
    answer = client.get("/image/1/codes/mid/0.50/cond/k4")
    assert answer.status_code == 503 and answer.json()["said"]
    assert client.get("/image/77/codes/mid/0.50/cond/k4").status_code == 404


@pytest.mark.parametrize(
    ("question", "leads_to"),
    [
        ("tree", {"/label/tree", "/mid/0.50/cond/k4/0", "/image/0"}),
        ("TREES", {"/label/tree"}),
        ("a tree please", {"/label/tree"}),
        ("1", {"/mid/1.00/cond/k4/1", "/mid/0.50/cond/k4/1", "/image/1"}),
        ("/mid/0.50/cond/k4/1", {"/mid/0.50/cond/k4/1"}),
        ("Boat water", {"/image/1"}),
    ],
)
def test_the_search_finds_labels_numbers_addresses_and_words(client, question, leads_to):
    found = set(page(client, f"/search?q={question}").links)
    assert leads_to <= found
    if question.startswith("/"):
        assert "/mid/1.00/cond/k4/1" not in found and "/image/1" not in found


@pytest.mark.parametrize(("question", "asked"), [("a tall tree", True), ("&q=x", True), ("1", False), ("%20", False)])
def test_words_are_asked_for_in_meaning_too_but_no_number(client, question, asked):
    text = client.get("/search", params={"q": question.replace("%20", " ")}).text
    assert ("/static/meaning.js" in text) == asked == ("data-meaning" in text)
    if asked:
        address = html.unescape(re.search(r'data-meaning="([^"]+)"', text)[1])
        assert parse_qs(urlsplit(address).query) == {"q": [question]}


def test_labels_nearest_in_meaning_come_with_the_concepts_that_carry_them(client, source, monkeypatch):
    given = []
    monkeypatch.setattr(
        "concept_atlas.Atlas.nearest_labels", lambda _, *asked: given.append(asked) or [("tree", 0.75), (SCRIPT, -0.5)]
    )
    labels = client.get("/search/meaning", params={"q": "  a   shrub " + "x" * 300}).json()["labels"]
    assert given == [("a shrub " + "x" * 188, 8, ())]
    assert [(one["label"], one["cosine"]) for one in labels] == [("tree", 0.75), (SCRIPT, -0.5)]
    assert labels[0]["url"] == "/label/tree" and labels[1]["best"] == []
    assert {one["url"] for one in labels[0]["best"]} == {"/mid/1.00/cond/k4/0", "/mid/0.50/cond/k4/0"}
    assert client.get("/search/meaning?q=").json() == {"labels": []}


def test_an_embedder_that_is_not_there_is_a_sentence(client, monkeypatch):
    def absent(*_):
        raise AtlasError("the model is gone")

    monkeypatch.setattr("concept_atlas.Atlas.nearest_labels", absent)
    answer = client.get("/search/meaning?q=shrub")
    assert (answer.status_code, answer.json()) == (503, {"said": "the model is gone"})


def test_a_search_without_an_answer_says_so(client):
    assert "No label, concept or caption is spelt like that." in page(client, "/search?q=zzzzqqq").text
    assert "No label" not in page(client, "/search?q=%20").text
    assert len(page(client, f"/search?q={'a' * 3000}").text) < 3000


@pytest.mark.parametrize("address", [*PAGES, "/search?q=script", "/search?q=<script>alert(1)</script>", "/label/nope"])
def test_nothing_that_a_table_or_an_address_holds_becomes_markup(client, address):
    found = Found(client.get(address).text)
    scripts = [given for tag, given in found.tags if tag == "script"]
    assert all(given.keys() == {"type", "src"} and given["src"].startswith("/static/") for given in scripts)
    assert [given for _, given in found.tags if any(name.startswith("on") or name == "style" for name in given)] == []
    assert [tag for tag, _ in found.tags if tag in ("style", "iframe", "object", "base")] == []


def test_every_link_of_every_page_leads_somewhere_on_this_machine(client):
    links = {link for address in PAGES for link in page(client, address).links} - {"#content"}
    assert len(links) > 12 and all(link.startswith(("/", "?")) and not link.startswith("//") for link in links)
    assert {link for link in links if client.get(link).status_code != 200} == set()
    assert SCRIPT in page(client, "/label/" + next(link for link in links if "script" in link)[7:]).text


def test_pages_are_well_formed(client):
    for address in PAGES:
        found = page(client, address)
        ids = [given["id"] for _, given in found.tags if "id" in given]
        assert len(ids) == len(set(ids)) and ("h1", {}) in found.tags
        assert all("alt" in given for tag, given in found.tags if tag == "img")


def test_a_chart_places_values_by_their_size_and_bands_by_their_ends():
    line = Series("trained", "", 5, (Point(1.0, 0.0), Point(0.5, 0.2, 0.1, 0.4), Point(0.0, 0.4, 0.3, 0.4)))
    panel = Panel("mid", (line,))
    assert top_of([panel]) == 0.4
    found = Found(drawn(panel, time_axis([0.0, 1.0, 0.5]), 0.4, "IoU"))
    dots = [(float(given["cx"]), float(given["cy"])) for tag, given in found.tags if tag == "circle"]
    assert [x for x, _ in dots] == sorted(x for x, _ in dots)  # from noise, on the left, to the image
    heights = [y for _, y in dots]
    assert heights[0] > heights[1] > heights[2] == 8 and abs(heights[1] - (heights[0] + heights[2]) / 2) < 0.11
    whiskers = [given for tag, given in found.tags if given.get("class", "").startswith("whisker")]
    assert len(whiskers) == 2 and float(whiskers[0]["y1"]) > heights[1] > float(whiskers[0]["y2"])


def test_a_line_has_one_colour_on_every_page_and_no_figure_has_two_of_one(client):
    """As the legend has it, whatever other lines a figure or a study lacks."""
    for names in (EXPLAINED, KINDS, METHODS, ("edit", "random direction")):
        assert len({COLOURS[name] for name in names}) == len(names)
    assert set(COLOURS) == set(TOLD)
    colours: dict[str, set[str]] = {}
    for address in PAGES:
        for figure in client.get(address).text.split('<section class="figure">')[1:]:
            legend = dict(re.findall(r'<li class="(s\d)" title="[^"]*"><span class="swatch"></span>([^<]*)<', figure))
            for colour, name in legend.items():
                colours.setdefault(name.strip(), set()).add(colour)
            told = re.findall(r'<circle class="dot (s\d)"[^>]*><title>([^:]*):', figure)
            assert told or not legend
            assert {(colour, name.replace("_", " ")) for colour, name in told} <= {
                (colour, name.strip()) for colour, name in legend.items()
            }
    assert {"trained", "untrained", "position"} <= set(colours) and all(len(of) == 1 for of in colours.values())


def test_the_first_page_lists_what_images_show_and_where_no_image_shows_any_what_concepts_carry(root, monkeypatch):
    source = Source(root)
    shown, carried = missing._shown(source), set(missing._carried(source))
    gone = sorted(carried & set(shown))[0]
    assert [label for label, _ in home(source, "")["labels"]] == list(missing.shown_labels(source))
    monkeypatch.setattr(missing, "_shown", lambda _: {label: shown[label] for label in shown if label != gone})
    source.forget()
    assert gone not in dict(home(source, "")["labels"]) and missing.known_labels(source)[gone] == 0
    monkeypatch.setattr(missing, "_shown", lambda _: {})
    source.forget()
    assert dict(home(source, "")["labels"]) == dict.fromkeys(sorted(carried), 0)
