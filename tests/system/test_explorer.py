"""The explorer in a real browser: from the search to a concept to an image; what the pointer reads is the table's."""

import csv
import json

import numpy as np
import pytest

import concept_atlas
from explorer.source import Source
from storage.images import decode_png
from study.opening import recorded_study
from tasks.layout import Predictor
from tests.system import browser
from tests.system.explored import served

pytestmark = [pytest.mark.system, pytest.mark.skipif(browser.PROGRAM is None, reason=browser.ABSENT)]


@pytest.fixture(scope="module")
def address(tiny_study, tmp_path_factory):
    """Of the explorer over the tiny study, started as a user starts it."""
    with served(tiny_study, tmp_path_factory.mktemp("prefect")) as address:
        yield address


@pytest.fixture(scope="module")
def tab(address):
    with browser.page() as page:
        yield page
        assert page.faults == []
        assert {url.split("/")[2] for url in page.asked if not url.startswith("data:")} == {address.split("/")[2]}


@pytest.fixture(scope="module")
def atlas(tiny_study):
    return concept_atlas.open(tiny_study)


@pytest.fixture(scope="module")
def best(atlas):
    """The evidence of the best carried label."""
    rows = atlas.rows("concept_labels", None, {"kind": "trained", "assigned": True}).to_pylist()
    return max(rows, key=lambda row: (row["iou_selection"], row["t"], -row["cid"]))


# A canvas that nothing was drawn on is 300 pixels wide; a drawn one has a pixel a cell.


def concept_address(row):
    return f"/{row['block']}/{row['t']:.2f}/{row['conditioning']}/k{row['k']}/{row['cid']}"


def centre(tab, selector, cell, grid):
    """Pixels of the window where the middle of a cell is, after scrolling there."""
    found = f"document.querySelector({json.dumps(selector)})"
    tab.ask(f"{found}.scrollIntoView({{block: 'center'}})")
    left, top, width, height = tab.ask(f"(b => [b.left, b.top, b.width, b.height])({found}.getBoundingClientRect())")
    return left + (cell[1] + 0.5) / grid[1] * width, top + (cell[0] + 0.5) / grid[0] * height


def test_from_the_search_to_a_concept_whose_maps_read_as_the_table_does(tab, address, atlas, best):
    tab.go(f"{address}/")
    tab.ask("document.querySelector('[name=q]').focus()")
    tab.write(best["label"])
    tab.press("Enter")
    tab.until(f"location.search === '?q={best['label']}' && document.readyState === 'complete'")
    links = tab.ask("[...document.querySelectorAll('td a')].map(a => a.getAttribute('href'))")
    assert f"/label/{best['label']}" in links and concept_address(best) in links
    tab.ask(f"document.querySelector('a[href=\"{concept_address(best)}\"]').click()")
    tab.until("document.querySelector('.example canvas')?.width < 300 && document.readyState === 'complete'")

    key = {name: best[name] for name in ("block", "t", "conditioning", "k", "cid")}
    first = atlas.rows("concept_examples", None, {**key, "bin": 0, "rank": 0}).to_pylist()[0]
    values = np.zeros(first["grid"], np.float32)
    values.flat[first["map_indices"]] = first["map_values"]
    strongest = np.unravel_index(values.argmax(), values.shape)
    for cell in (strongest, np.unravel_index(values.argmin(), values.shape)):
        tab.move_to(*centre(tab, ".example .map", cell, first["grid"]))
        read = tab.until(
            f"document.querySelector('[data-reading]').textContent.startsWith('row {cell[0]}, column {cell[1]}:')"
            " && document.querySelector('[data-reading]').dataset.value"
        )
        assert float(read) == values[cell]
    opaque = "document.querySelector('.example canvas').getContext('2d').getImageData({1}, {0}, 1, 1).data[3]"
    on = tab.ask(opaque.format(*strongest))
    tab.ask("(o => { o.value = 0; o.dispatchEvent(new Event('input')); })(document.querySelector('[data-opacity]'))")
    assert on > 100 and tab.ask(opaque.format(*strongest)) == 0


def test_partners_are_mapped_on_the_same_images(tab, address, atlas, best):
    tab.go(f"{address}{concept_address(best)}")
    tab.ask("document.querySelector('.strip').scrollIntoView()")
    tab.until("document.querySelector('.step.here .map canvas')?.width < 300")
    given = tab.ask("({...document.querySelector('.step.here .map').dataset})")
    prompt_id = int(given["codes"].split("/")[2])
    codes = atlas.codes(prompt_id, best["block"], best["t"], best["conditioning"], best["k"])
    heat = codes.map(best["cid"])
    cell = np.unravel_index(heat.argmax(), heat.shape)
    tab.move_to(*centre(tab, ".step.here .map", cell, heat.shape))
    read = tab.until("document.querySelector('.step.here .map').dataset.value")
    assert float(read) == pytest.approx(heat[cell], rel=1e-5)


def test_an_image_lists_what_fires_in_the_place_that_the_arrow_keys_reach(tab, address, atlas, best):
    key = {name: best[name] for name in ("block", "t", "conditioning", "k", "cid")}
    prompt_id = atlas.rows("concept_examples", ["prompt_id"], {**key, "bin": 0, "rank": 0}).to_pylist()[0]["prompt_id"]
    tab.go(f"{address}{concept_address(best)}")
    tab.ask(f"document.querySelector('figcaption a[href=\"/image/{prompt_id}\"]').click()")
    tab.until("document.querySelector('.codes')?.dataset.loaded?.endsWith('/mid/0.00/cond/k4')")
    codes = atlas.codes(prompt_id, "mid", 0.0)
    rows, columns, _ = codes.cids.shape
    tab.ask("document.querySelector('[data-image]').focus()")
    tab.press("ArrowDown")
    tab.press("ArrowRight")
    tab.until("document.querySelector('[data-reading]').textContent.startsWith('row 1, column 1')")
    listed = tab.ask(
        "[...document.querySelectorAll('[data-list] tr')].map(r => [Number(r.dataset.cid), Number(r.dataset.value)])"
    )
    known = sorted(
        zip(codes.values[1, 1].tolist(), codes.cids[1, 1].tolist(), strict=True), key=lambda p: (-p[0], p[1])
    )
    assert rows > 1 and columns > 1
    assert [cid for cid, _ in listed] == [cid for value, cid in known if value > 0]
    assert [value for _, value in listed] == pytest.approx([value for value, _ in known if value > 0], rel=1e-5)
    tab.ask("(s => { s.value = 0; s.dispatchEvent(new Event('input')); })(document.querySelector('[data-slider]'))")
    tab.until("document.querySelector('.codes').dataset.loaded.endsWith('/mid/1.00/cond/k4')")


def test_segments_are_switched_on_pixel_by_pixel(tab, address, atlas, best):
    prompt_id = atlas.rows("segments", ["prompt_id"], {"label": best["label"]})["prompt_id"][0].as_py()
    tab.go(f"{address}/image/{prompt_id}")
    label = tab.ask("document.querySelector('.segments a').textContent")
    tab.ask("document.querySelector('[data-segment]').click()")
    painted = tab.ask(
        "(c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; "
        "return [c.height, c.width, ...d.filter((v, i) => i % 4 === 3).map(v => v > 0)]; })"
        "(document.querySelector('[data-segments]'))"
        ".toString()"
    ).split(",")
    shape = (int(painted[0]), int(painted[1]))
    assert np.array_equal(np.array(painted[2:], int).reshape(shape), atlas.segments(prompt_id)[label])


def test_a_predicted_layout_is_drawn_in_the_cells_that_the_stage_predicts(tab, address, atlas, tiny_study):
    """The stage's own walk of the layout split, at its own threshold, for a label of an image of it."""
    study = recorded_study(tiny_study)
    here = study.at(("mid", 0.0, "cond"), 4)
    where = {"block": "mid", "t": 0.0, "conditioning": "cond", "k": 4, "kind": "trained", "method": "evidence"}
    learnt = atlas.rows("layout_scores", ["label", "threshold"], where).to_pylist()
    thresholds = {row["label"]: row["threshold"] for row in learnt if row["threshold"] is not None}
    scored = [one for one in Predictor(here).scored("layout") if one.label in thresholds]
    view = atlas.at("mid", 0.0, "cond", 4)
    for one in scored:
        expected = (one.evidence_C >= thresholds[one.label]).reshape(here.grid)
        assert np.array_equal(view.layouts(one.prompt_id)[one.label], expected)
    shown = max(scored, key=lambda one: (one.evidence_C >= thresholds[one.label]).sum() % len(one.evidence_C))
    tab.go(f"{address}/image/{shown.prompt_id}")
    tab.until("document.querySelector('.codes')?.dataset.loaded?.endsWith('/mid/0.00/cond/k4')")
    tab.ask(
        "(s => { s.value = " + json.dumps(shown.label) + "; s.dispatchEvent(new Event('input')); })"
        "(document.querySelector('[data-predicted]'))"
    )
    rows, columns = here.grid
    expected = (shown.evidence_C >= thresholds[shown.label]).astype(int)
    assert painted_cells(tab, "[data-layout]") == expected.tolist() and 0 < expected.sum() < rows * columns
    assert f"{expected.sum()} of {rows * columns} cells" in tab.ask(
        "document.querySelector('[data-predicted-told]').textContent"
    )


def painted_cells(tab, selector):
    """Of a canvas that shows a layout, row by row: 1 for a cell that is painted."""
    return tab.ask(
        "(c => { const p = c.getContext('2d'); const n = []; for (let y = 32; y < c.height; y += 64) "
        "for (let x = 32; x < c.width; x += 64) n.push(p.getImageData(x, y, 1, 1).data[3] > 0 ? 1 : 0); return n; })"
        f"(document.querySelector({json.dumps(selector)}))"
    )


def layouts_of_a_label(tab, atlas, label, images):
    """What a label's page that is open draws: each image's mask, and its layouts of every block and time."""
    (k,), times = atlas.ks, sorted({site.t for site in atlas.sites}, reverse=True)
    tab.ask("document.querySelector('[data-predicted]').scrollIntoView()")
    places = tab.ask("[...document.querySelectorAll('[data-place] option')].map(o => o.textContent)")
    found = 0
    for n, place in enumerate(places):
        block, conditioning = place.split(", ")
        tab.ask(
            f"(s => {{ s.value = {n}; s.dispatchEvent(new Event('input')); }})(document.querySelector('[data-place]'))"
        )
        shown = f"[...document.querySelectorAll('[data-of=\"{n}\"] .map')]"
        assert tab.ask(f"{shown}.length") == len(images) * len(times)
        tab.until(f"{shown}.every(m => m.dataset.drawn)")
        for row, number in enumerate(images, 1):
            for column, t in enumerate(times, 3):
                cell = f"[data-predicted] tbody tr:nth-child({row}) td:nth-child({column}) [data-of='{n}']"
                expected = atlas.at(block, t, conditioning, k).layouts(number).get(label)
                told = tab.ask(f"document.querySelector({json.dumps(cell + ' small')}).textContent")
                assert tab.ask(f"document.querySelector({json.dumps(cell)}).hidden") is False
                if expected is None:
                    assert told == "not predicted"
                    continue
                assert painted_cells(tab, f"{cell} canvas") == expected.ravel().astype(int).tolist()
                assert told == f"{expected.sum()} of {expected.size} cells"
                found += expected.any() and not expected.all()
    assert found and len(places) > 1
    for row, number in enumerate(images, 1):
        alpha = (
            "(c => [c.height, c.width, ...[...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
            ".filter((v, i) => i % 4 === 3)])"
        )
        canvas = f"[data-predicted] tbody tr:nth-child({row}) td:nth-child(2) canvas"
        height, width, *painted = tab.ask(f"{alpha}(document.querySelector({json.dumps(canvas)}))")
        mask = atlas.segments(number)[label]
        assert np.array_equal(np.array(painted).reshape(height, width) > 0, mask) and mask.any()


def with_layouts(tiny_study):
    """A label of the tiny study whose layouts are learnt at every site, and the images that its page shows."""
    source = Source(tiny_study)
    learnt = source.rows("layout_scores", ["label", "threshold"], kind="trained", method="evidence")
    sites = len(source.atlas.sites)
    labels = {row["label"] for row in learnt if row["threshold"] is not None and not row["label"].startswith("*")}
    label = min(one for one in labels if sum(row["label"] == one for row in learnt) == sites)
    masks = {row["prompt_id"] for row in source.rows("segments", ["prompt_id"], label=label)}
    layout = {row["prompt_id"] for row in source.rows("prompts", ["prompt_id"], split="layout")}
    return label, sorted(masks & layout)[:4]


def test_a_labels_layouts_are_drawn_beside_its_masks(tab, address, atlas, tiny_study):
    label, images = with_layouts(tiny_study)
    tab.go(f"{address}/label/{label}")
    layouts_of_a_label(tab, atlas, label, images)


def test_an_image_shows_the_edits_that_were_made_of_it(tab, address, atlas):
    rows = atlas.rows("interventions", ["prompt_id", "control"]).to_pylist()
    number = min(row["prompt_id"] for row in rows)
    tab.go(f"{address}/image/{number}")
    tab.ask("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    tab.ask("document.querySelectorAll('.pairs img').forEach(i => { i.loading = 'eager'; })")
    tab.until("[...document.querySelectorAll('.pairs img')].every(i => i.complete)")
    widths = tab.ask("[...document.querySelectorAll('.pairs img')].map(i => i.naturalWidth)")
    made = [row for row in rows if row["prompt_id"] == number and row["control"] in ("none", "random_direction")]
    assert len(widths) == len(made) > 0 and set(widths) == {atlas.image(number).width}


def drag(tab, selector, cells, grid):
    """Press over the first cell, move over the others, let go over the last."""
    points = [centre(tab, selector, cell, grid) for cell in cells]
    for kind, (x, y) in (
        ("mousePressed", points[0]),
        *(("mouseMoved", p) for p in points[1:]),
        ("mouseReleased", points[-1]),
    ):
        tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)


def test_a_painted_edit_is_made_and_has_a_page_that_shows_its_changes(tab, address, atlas, best):
    tab.go(f"{address}/edit?concept={best['label']}")
    tab.ask("document.querySelector('[name=prompt]').focus()")
    tab.write(f"a {best['label']} in the grass")
    drag(tab, "[data-canvas]", [(0, 0), (0, 1), (0, 2)], (16, 16))
    tab.ask("document.querySelector('[data-canvas]').focus()")
    for key in ("ArrowDown", " "):
        tab.press(key)
    region = "cells:16x16:e000" + "8000" + "0000" * 14
    assert tab.ask("document.querySelector('[data-canvas]').dataset.region") == region
    tab.ask("document.querySelector('[data-region=bottom_left]').click()")
    assert tab.ask("document.querySelector('[data-canvas]').dataset.region") == "bottom_left"
    tab.ask("document.querySelector('[value=eraser]').click()")
    drag(tab, "[data-canvas]", [(15, 0)], (16, 16))
    tab.ask("document.querySelector('[data-go]').click()")
    tab.until(
        "document.querySelectorAll('[data-drawn]').length === 2"
        " || document.querySelector('[role=alert]')?.hidden === false"
    )
    assert tab.ask("document.querySelector('[role=alert]')?.textContent ?? ''") == ""
    name = tab.ask("location.pathname.split('/').pop()")
    assert "63 painted cells of 16x16" in tab.ask("document.body.textContent")
    pictures = {p: decode_png(png).astype(int) for p, png in atlas.kept_pictures(name).items()}
    change = np.abs(pictures["after"] - pictures["before"]).max(-1)
    shown = tab.ask(
        "(c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((v, i) => i % 4 === 0))"
        "(document.querySelector('[data-difference=after]'))"
    )
    assert np.array_equal(np.array(shown).reshape(change.shape), change) and change.any()
    assert atlas.kept_edits[0]["edit"] == name


def test_marked_concepts_are_a_list_that_its_address_carries(tab, address, best):
    name = concept_address(best).lstrip("/")
    tab.go(f"{address}/{name}")
    tab.ask("document.querySelector('[data-mark]').click()")
    assert tab.ask("document.querySelector('[data-mark]').textContent") == "marked"
    tab.ask("document.querySelector('a[href=\"/list\"]').click()")
    tab.until("location.search && document.readyState === 'complete' && !!document.querySelector('tr[data-name]')")
    assert tab.ask("[...document.querySelectorAll('tr[data-name]')].map(r => r.dataset.name)") == [name]
    tab.ask("document.querySelector('[data-note]').focus()")
    tab.write('=1+1 "why"')
    carried = tab.until("location.search.includes('why') && location.href")
    tab.ask("document.querySelector('[data-save=csv]').click()")
    header, line = tab.ask("document.querySelector('[data-lines]').dataset.saved").split("\r\n")
    assert header == '"concept","label","iou_selection","iou_heldout","note"'
    read = next(csv.reader([line]))
    assert read[:2] == [name, best["label"]] and read[4] == '\'=1+1 "why"'  # no spreadsheet takes it for a formula
    assert float(read[2]) == best["iou_selection"]
    tab.ask("document.querySelector('[data-save=json]').click()")
    (kept,) = json.loads(tab.ask("document.querySelector('[data-lines]').dataset.saved"))
    assert kept["note"] == '=1+1 "why"' and kept["iou_heldout"] == best["iou_heldout"]
    tab.ask("localStorage.clear()")
    tab.go(carried)
    assert tab.ask("document.querySelector('[data-note]').value") == '=1+1 "why"'
    tab.ask("document.querySelector('[data-drop]').click()")
    assert tab.ask("location.search") == "" or tab.ask("document.querySelectorAll('tr[data-name]').length") == 0


def test_two_concepts_are_compared_on_maps_that_can_be_read(tab, address, best):
    one = concept_address(best).lstrip("/")
    tab.go(f"{address}/compare?a={one}&b={one}")
    tab.until("[...document.querySelectorAll('.example canvas')].every(c => c.width < 300)")
    first = tab.ask("document.querySelectorAll('.bin')[0].querySelectorAll('canvas').length")
    assert first > 0 and tab.ask("document.querySelectorAll('.bin')[1].querySelectorAll('canvas').length") == first


def test_words_lead_to_the_labels_nearest_in_meaning(tab, address, atlas):
    tab.go(f"{address}/search?q=a+tall+shrub")
    rows = "[...document.querySelectorAll('[data-meaning] tbody tr')]"
    tab.until(f"{rows}.length > 0")
    found = atlas.nearest_labels("a tall shrub")
    assert tab.ask(f"{rows}.map(row => row.cells[0].textContent)") == [label for label, _ in found]
    assert tab.ask(f"{rows}.map(row => Number(row.cells[1].querySelector('data').value))") == pytest.approx(
        [cosine for _, cosine in found], abs=1e-5
    )
    assert tab.ask("document.querySelector('[data-said]').textContent") == ""
    tab.ask(f"{rows}[0].querySelector('a').click()")
    tab.until(f"location.pathname === '/label/' + {json.dumps(found[0][0])}")


def test_a_narrow_window_needs_no_scrolling_sideways(tab, address, best):
    tab.call("Emulation.setDeviceMetricsOverride", width=360, height=700, deviceScaleFactor=1, mobile=False)
    try:
        for page in (
            "/",
            f"/label/{best['label']}",
            concept_address(best),
            "/image/20",
            "/search?q=tree",
            "/edit",
            "/list",
            "/compare",
        ):
            tab.go(f"{address}{page}")
            assert tab.ask("document.documentElement.scrollWidth") <= 360, page
    finally:
        tab.call("Emulation.clearDeviceMetricsOverride")
