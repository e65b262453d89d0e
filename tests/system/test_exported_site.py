"""An exported site in a real browser, from its folder, without a server: what it finds, draws and reads."""

from __future__ import annotations

import json
import statistics
from urllib.parse import quote, unquote, urlsplit

import numpy as np
import pytest
from starlette.testclient import TestClient

import concept_atlas
from explorer.addresses import canonical
from explorer.app import application
from explorer.plan import planned
from explorer.source import Source
from tests.explorer.test_pages import Found
from tests.system import browser
from tests.system.explored import exported
from tests.system.test_explorer import centre, layouts_of_a_label, with_layouts

pytestmark = [pytest.mark.system, pytest.mark.skipif(browser.PROGRAM is None, reason=browser.ABSENT)]
CONCEPTS, IMAGES = 12, 8


@pytest.fixture(scope="module")
def site(edited_study, tmp_path_factory):
    """Of a study beside which an edit is kept."""
    out = tmp_path_factory.mktemp("exported") / "a site"  # a name that an address has to escape
    _, told = exported(edited_study, out, "--concepts", str(CONCEPTS), "--images", str(IMAGES))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    assert told == f"{len(list(out.rglob('*.html')))} pages, {size / 1e6:.1f} MB in {out}: open {out / 'index.html'}\n"
    return out


@pytest.fixture(scope="module")
def tab(site):
    with browser.page() as page:
        yield page
        assert page.faults == []
        assert all(url.startswith((site.as_uri(), "data:", "blob:")) for url in page.asked)


@pytest.fixture(scope="module")
def plan(tiny_study):
    return planned(Source(tiny_study), CONCEPTS, IMAGES)


@pytest.fixture(scope="module")
def best(tiny_study, plan):
    """The concept with the largest IoU of those that have pages: its dictionary and number, and its label."""
    rows = (
        concept_atlas.open(tiny_study).rows("concept_labels", None, {"kind": "trained", "assigned": True}).to_pylist()
    )
    row = max(rows, key=lambda row: row["iou_selection"])
    (at,) = [at for at in plan.concepts if (at.block, at.t) == (row["block"], row["t"])]
    assert row["cid"] in plan.concepts[at]
    return at, row["cid"], row["label"]


def loaded(tab, site, file):
    """Whether a page of the site stands there whole, reached by a link or a form."""
    return f"location.pathname === {json.dumps(quote(str(site / file)))} && document.readyState === 'complete'"


def test_from_the_search_to_a_concept_to_an_image_and_back(tab, site, tiny_study, best, plan):
    at, cid, label = best
    tab.go(f"{site.as_uri()}/index.html")
    tab.ask("document.querySelector('[name=q]').focus()")
    tab.write(label)
    tab.press("Enter")
    tab.until(f"{loaded(tab, site, 'search.html')} && document.querySelector('[data-found]').dataset.told")
    tab.ask(f"document.querySelector('a[href$=\"concept/{at.path}/{cid}.html\"]').click()")
    tab.until(loaded(tab, site, f"concept/{at.path}/{cid}.html"))
    tab.until("document.querySelector('.example canvas')?.width < 300")

    atlas = concept_atlas.open(tiny_study)
    first = atlas.rows("concept_examples", None, {**at.columns, "cid": cid, "bin": 0, "rank": 0}).to_pylist()[0]
    values = np.zeros(first["grid"], np.float32)
    values.flat[first["map_indices"]] = first["map_values"]
    cell = np.unravel_index(values.argmax(), values.shape)
    tab.move_to(*centre(tab, ".example .map", cell, first["grid"]))
    assert float(tab.until("document.querySelector('[data-reading]').dataset.value")) == values[cell] > 0

    number = tab.ask("document.querySelector('figcaption a').textContent")
    tab.ask("document.querySelector('figcaption a').click()")
    tab.until(f"{loaded(tab, site, f'image/{number}.html')} && document.querySelector('.codes')?.dataset.loaded")
    tab.ask("history.back()")
    tab.until(loaded(tab, site, f"concept/{at.path}/{cid}.html"))


def test_partners_are_mapped_as_the_codes_have_it(tab, site, tiny_study, best):
    at, cid, _ = best
    tab.go(f"{site.as_uri()}/concept/{at.path}/{cid}.html")
    shown = tab.ask("[...document.querySelectorAll('.step.here .map')].length")
    assert shown
    number = int(tab.ask("document.querySelector('.step.here img').getAttribute('src')").split("/")[-1].split(".")[0])
    heat = concept_atlas.open(tiny_study).codes(number, at.block, at.t, at.conditioning, at.k).map(cid)
    cell = np.unravel_index(heat.argmax(), heat.shape)
    tab.move_to(*centre(tab, ".step.here .map", cell, heat.shape))
    assert float(tab.until("document.querySelector('.step.here .map').dataset.value")) == pytest.approx(
        heat[cell], rel=1e-5
    )


def test_an_image_lists_what_fires_at_every_time(tab, site, tiny_study, plan):
    number = plan.images[-1]
    tab.go(f"{site.as_uri()}/image/{number}.html")
    tab.until("document.querySelector('.codes').dataset.loaded?.endsWith('/0.00/cond/k4')")
    tab.ask("(s => { s.value = 0; s.dispatchEvent(new Event('input')); })(document.querySelector('[data-slider]'))")
    tab.until("document.querySelector('.codes').dataset.loaded.endsWith('/1.00/cond/k4')")
    block = tab.ask("document.querySelector('[data-place]').selectedOptions[0].dataset.block")
    codes = concept_atlas.open(tiny_study).codes(number, block, 1.0)
    tab.move_to(*centre(tab, "[data-image]", (1, 2), codes.cids.shape[:2]))
    tab.until("document.querySelector('[data-reading]').textContent.startsWith('row 1, column 2')")
    rows = tab.ask("[...document.querySelectorAll('[data-list] tr')].map(r => [r.dataset.cid, r.dataset.value])")
    pairs = zip(codes.cids[1, 2].tolist(), codes.values[1, 2].tolist(), strict=True)
    on = {str(cid): value for cid, value in pairs if value > 0}
    assert dict(rows).keys() == on.keys() != set()
    assert {cid: float(value) for cid, value in rows} == pytest.approx(on, rel=1e-5)
    linked = set(tab.ask("[...document.querySelectorAll('[data-list] td:first-child a')].map(a => a.textContent)"))
    (at,) = [at for at in plan.concepts if (at.block, at.t) == (block, 1.0)]
    assert linked == {cid for cid in on if int(cid) in plan.concepts[at]}


def test_layouts_are_those_of_the_codes(site, tiny_study, plan):
    atlas, found = concept_atlas.open(tiny_study), 0
    for at in plan.concepts:
        view = atlas.at(at.block, at.t, at.conditioning, at.k)
        for number in plan.images:
            text = (site / "image" / str(number) / "codes" / f"{at.path}.js").read_text()
            told = json.loads(text.partition(", ")[2].removesuffix(");\n"))["layouts"]
            expected = view.layouts(number)
            assert told == {label: np.flatnonzero(mask).tolist() for label, mask in expected.items()}
            found += len(told)
    assert found


def test_a_labels_layouts_are_drawn_beside_its_masks(tab, site, tiny_study, plan):
    label, images = with_layouts(tiny_study)
    tab.go(f"{site.as_uri()}/label/{label}.html")
    layouts_of_a_label(tab, concept_atlas.open(tiny_study), label, images)


def test_the_image_that_the_study_edited_most_has_its_edits(site, tiny_study):
    rows = concept_atlas.open(tiny_study).rows("interventions", ["prompt_id"], {"control": "none"}).to_pylist()
    (most,) = statistics.multimode(row["prompt_id"] for row in rows)
    found = Found((site / "image" / f"{most}.html").read_text())
    edits = [link for link in found.links if f"{most}/edits/" in link]
    assert len(edits) == 2 * sum(row["prompt_id"] == most for row in rows)  # each beside its random twin
    assert f"{IMAGES} images" in Found((site / "index.html").read_text()).text


QUESTIONS = (
    "tree",
    "tres",
    "TREE",
    "a boat please",
    "ter",
    "snwo",
    "1",
    "30",
    "white house",
    "zzzz",
    "mid/0.00/cond/k4/{}",
)


def test_the_search_finds_what_the_servers_finds_of_what_is_there(tab, site, tiny_study, plan):
    client = TestClient(application(Source(tiny_study)), base_url="http://localhost")
    some = plan.concepts[next(at for at in plan.concepts if at.path == "mid/0.00/cond/k4")][0]
    for question in (one.format(some) for one in QUESTIONS):
        served = Found(client.get("/search", params={"q": question}).text)
        links = [given["href"] for tag, given in served.tags if tag == "a" and given["href"] not in OF_EVERY_PAGE]
        wanted = [plan.files[address] for link in links if (address := canonical(link)) in plan.files]
        tab.go(f"{site.as_uri()}/search.html?q={quote(question)}")
        tab.until(f"document.querySelector('[data-found]').dataset.told === {json.dumps(question)}")
        found = tab.ask("[...document.querySelectorAll('[data-found] a')].map(a => a.href)")
        files = [unquote(link.removeprefix(f"{site.as_uri()}/")) for link in found]
        assert [file for file in files if file != "index.html"] == wanted, question


OF_EVERY_PAGE = ("#content", "/", "/edit", "/compare", "/list", "/static/icon.svg", "/static/explorer.css")


def test_a_list_is_carried_by_the_address(tab, site, tiny_study, best):
    at, cid, _ = best
    tab.go(f"{site.as_uri()}/concept/{at.path}/{cid}.html")
    tab.ask("document.querySelector('[data-mark]').click()")
    tab.ask("document.querySelector('a[href$=\"list.html\"]').click()")
    tab.until("location.search && document.readyState === 'complete' && !!document.querySelector('tr[data-name]')")
    rows = (
        concept_atlas.open(tiny_study)
        .rows("concept_labels", None, {**at.columns, "kind": "trained", "cid": cid})
        .to_pylist()
    )
    first = min(rows, key=lambda row: (not row["assigned"], -row["iou_selection"], row["label"]))
    told = tab.ask("({...document.querySelector('tr[data-name]').dataset})")
    assert told["name"] == f"{at.path}/{cid}" and told["label"] == first["label"]
    assert float(told["iou_selection"]) == first["iou_selection"] and float(told["iou_heldout"]) == first["iou_heldout"]
    assert tab.ask("document.querySelector('tr[data-name] a').href").endswith(f"concept/{at.path}/{cid}.html")
    tab.ask("localStorage.clear()")
    tab.go(f"{site.as_uri()}/list.html?c=mid/0.50/cond/k4/99999&n=")
    tab.until("document.querySelector('[data-lines]').textContent.includes('This site has no page of it.')")


def test_a_narrow_window_needs_no_scrolling_sideways(tab, site, best):
    at, cid, label = best
    tab.call("Emulation.setDeviceMetricsOverride", width=360, height=700, deviceScaleFactor=1, mobile=False)
    try:
        for page in ("index.html", f"search.html?q={label}", f"list.html?c={at.path}/{cid}&n=why", "compare.html"):
            tab.go(f"{site.as_uri()}/{page}")
            assert tab.ask("document.documentElement.scrollWidth") <= 360, page
    finally:
        tab.call("Emulation.clearDeviceMetricsOverride")


def test_no_link_of_any_page_is_dead(site):
    for path in site.rglob("*.html"):
        for link in Found(path.read_text()).links:
            if not link.startswith(("#", "data:")):
                assert (path.parent / unquote(urlsplit(link).path)).is_file(), (path, link)


def test_every_page_opens_without_a_fault(tab, site, plan):
    at = next(iter(plan.concepts))
    for file in (
        "compare.html",
        "compare/0.html",
        "edit.html",
        "label/tree.html",
        f"concept/{at.path}/{plan.concepts[at][-1]}.html",
    ):
        tab.go(f"{site.as_uri()}/{file}")
        assert tab.ask("document.querySelector('h1').textContent"), file


def test_a_kept_edit_shows_what_it_changed(tab, site):
    """Pictures whose pixels a script reads stand in the page itself: a browser lets it read no file's."""
    tab.go(f"{site.as_uri()}/edit.html")
    tab.ask("document.querySelector('main li a').click()")
    tab.until("document.querySelectorAll('[data-drawn]').length === 2")
    assert "<script>" in tab.ask("document.querySelector('.caption').textContent")
    changes = "[...c.getContext('2d').getImageData(0, 0, 8, 8).data].filter((v, i) => i % 4 === 0)"
    for n, picture in enumerate(("after", "control"), 1):
        shown = tab.ask(f"(c => {changes})(document.querySelector('[data-difference={picture}]'))")
        assert shown == [20 * n] * 64
