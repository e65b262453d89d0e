"""An exported site leads nowhere that is not there, escapes all that a table holds, and takes nobody's folder."""

import json
import os
import shutil
import struct
import subprocess
from base64 import b64decode
from collections import defaultdict
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pytest

from concept_atlas import AtlasError, Codes
from explorer.addresses import canonical
from explorer.bundle import bundle
from explorer.export import export_site
from explorer.folder import NOTE
from explorer.missing import every_dictionary
from explorer.pictures import smaller
from explorer.plan import best_concepts, most_shown, planned
from explorer.rewriting import rewritten
from explorer.site_codes import SiteCodes, packed
from explorer.source import Source
from storage.images import decode_png, encode_png
from study.verify import SITE_NOTE, inspect_study
from tests.explorer.conftest import SCRIPT
from tests.explorer.test_pages import Found


@pytest.fixture(scope="module")
def site(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "site"
    exported = export_site(root, out)
    assert exported.pages == len(list(out.rglob("*.html")))
    assert exported.size == sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return out


def pages(site):
    found = {path: Found(path.read_text()) for path in site.rglob("*.html")}
    assert len(found) >= 12
    return found


def test_every_address_on_every_page_is_a_file_of_the_site(site):
    led_to = set()
    for path, found in pages(site).items():
        for link in found.links + [given["action"] for _, given in found.tags if "action" in given]:
            if link.startswith("#"):
                continue
            target = (path.parent / unquote(link)).resolve()
            assert target.is_file() and target.is_relative_to(site.resolve()), (path, link)
            led_to.add(target.relative_to(site.resolve()).as_posix())
    assert {"index.html", "label/tree.html", "concept/mid/0.50/cond/k4/0.html", "image/0.html", "image/0.png"} <= led_to
    assert {path.relative_to(site).as_posix() for path in pages(site)} - led_to == {"search.html"} - led_to


def test_nothing_that_a_table_holds_becomes_markup_and_every_page_carries_its_policy(site):
    for path, found in pages(site).items():
        scripts = [given for tag, given in found.tags if tag == "script"]
        assert all(given.keys() == {"defer", "src"} and "static/" in given["src"] for given in scripts), path
        (policy,) = [given["content"] for tag, given in found.tags if given.get("http-equiv")]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
        assert "<script>alert" not in path.read_text()
    assert any(SCRIPT in found.text for found in pages(site).values())
    assert "</script" not in (site / "static" / "index.js").read_text().replace("<script>alert('1')</script>", "")


def test_masks_and_edits_are_in_the_site_and_what_cannot_be_read_is_said(site, root):
    found = Found((site / "label" / "tree.html").read_text())
    mask, *layouts = [given for _, given in found.tags if "data-label" in given]
    assert mask["data-size"] == "8 8" and mask["data-runs"] == "0 1 7 1 55"
    assert len(layouts) == 2 and all(one["class"] == "map unread" and one["title"] for one in layouts)
    edits = [link for link in Found((site / "image" / "0.html").read_text()).links if "0/edits/" in link]
    kept = [row["image"] for row in Source(root).rows("interventions", prompt_id=0) if row["control"] != "neurons"]
    assert len(edits) == 3 and {(site / "image" / link).read_bytes() for link in edits} == set(kept)


def test_what_needs_a_server_is_not_offered_and_the_folder_of_the_study_is_not_told(site, root):
    for path, found in pages(site).items():
        assert [tag for tag, _ in found.tags if tag == "form"] == ["form"], path  # the search's
        assert str(root) not in path.read_text()
    assert "concepts explore" in Found((site / "edit.html").read_text()).text
    assert "mid/1.00/cond/k4 and mid/0.50/cond/k4" in Found((site / "compare.html").read_text()).text


def test_a_concept_without_a_page_stands_without_a_link(root, tmp_path):
    export_site(root, tmp_path / "site", concepts=1)
    found = Found((tmp_path / "site" / "concept/mid/1.00/cond/k4/0.html").read_text())
    assert not (tmp_path / "site" / "concept/mid/0.50/cond/k4/1.html").exists()
    assert not any("0.50" in link for link in found.links)
    assert "concept 1" not in found.text  # the way to the next one is gone with it


def test_a_label_without_a_page_stands_without_a_link_and_is_not_searched_for(root, tmp_path):
    site = tmp_path / "site"
    export_site(root, site, labels=1)
    (page,) = (site / "label").iterdir()
    found = Found((site / "index.html").read_text())
    assert "1 of 2 labels, those that most images show" in found.text and SCRIPT in found.text
    assert [link for link in found.links if link.startswith("label/")] == [f"label/{page.name}"]
    text = (site / "static" / "index.js").read_text().partition("=")[2].rstrip("; \n")
    assert [name for name, _, _ in json.loads(text)["labels"]] == ["tree"]


def test_layouts_are_worked_out_once_for_pages_of_labels_and_of_images(source, monkeypatch):
    asked, codes = [], Codes(np.ones((2, 2, 1), np.float32), np.zeros((2, 2, 1), np.int64))

    def layouts(source, view, prompt_id, found):
        asked.append((view.path, prompt_id))
        return {"tree": [1, 3]} if prompt_id else {}

    monkeypatch.setattr("explorer.site_codes.layouts", layouts)
    monkeypatch.setattr(SiteCodes, "_codes", lambda self, at, prompt_id: codes)
    of, (early, late) = SiteCodes(source), every_dictionary(source)
    of.predict([0, 8])
    assert of.layout(early.path, 8, "tree") == {"data-grid": "2 2", "data-on": "1 3"}
    assert of.layout(early.path, 0, "tree") == {"data-grid": "2 2"}
    assert of.packed(late, 8)["layouts"] == {"tree": [1, 3]} and of.packed(late, 1)["layouts"] == {"tree": [1, 3]}
    assert len(asked) == len(set(asked)) == 5


def test_a_site_within_its_study_is_not_taken_for_the_studys(root, tmp_path):
    study = shutil.copytree(root, tmp_path / "study")
    export_site(study, study / "site", concepts=1, images=1)
    shutil.copytree(study / "site", study / ".site.0a1b.77.tmp")  # of an export that was killed
    (study / "site" / "static" / "more").mkdir()
    shutil.copytree(study / "site" / "static", study / "static")
    report = inspect_study(study)
    assert [name for name in report.foreign if "site" in name] == [] and "static/index.js" in report.foreign
    assert ".site.0a1b.77.tmp/index.html" in report.left_over


def test_a_folder_with_anything_in_it_is_left_alone(root, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(AtlasError, match="holds other files"):
        export_site(root, tmp_path, replace=True)
    with pytest.raises(AtlasError, match="is no folder"):
        export_site(root, tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_a_killed_export_left_goes_with_the_next_one(root, tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    left, used = tmp_path / f".site.00000000.{ended.pid}.tmp", tmp_path / f".site.00000001.{os.getpid()}.tmp"
    others = [tmp_path / name for name in (f".place.00000000.{ended.pid}.tmp", ".site.tmp", f".site.x.{ended.pid}.tmp")]
    for folder in (left, used, *others):
        folder.mkdir()
        (folder / "index.html").write_text("half")
    export_site(root, tmp_path / "site", concepts=1, images=1)
    assert set(tmp_path.iterdir()) == {used, *others, tmp_path / "site"}


def test_a_site_is_replaced_only_where_that_is_asked_for(root, tmp_path):
    out = tmp_path / "site"
    out.mkdir()
    export_site(root, out, concepts=1)  # an empty folder is taken
    assert (out / NOTE).is_file() and NOTE == SITE_NOTE
    with pytest.raises(AtlasError, match="--replace puts the new one"):
        export_site(root, out)
    assert len(list((out / "concept").rglob("*.html"))) == 2
    export_site(root, out, replace=True)
    assert len(list((out / "concept").rglob("*.html"))) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_an_export_that_fails_leaves_nothing(root, tmp_path, monkeypatch):
    monkeypatch.setattr("explorer.export.smaller", lambda png: ("png", bytes(2_000_000)))
    with pytest.raises(AtlasError, match="larger than 1 MB: ask for fewer"):
        export_site(root, tmp_path / "site", megabytes=1)
    monkeypatch.setattr("explorer.app.label_page", lambda *_: (_ for _ in ()).throw(AtlasError("the table is torn")))
    with pytest.raises(AtlasError, match=r"the page /label/.* cannot be made: the table is torn"):
        export_site(root, tmp_path / "site")
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_has_only_begun_has_a_site_too(root, tmp_path):
    study = tmp_path / "begun"
    study.mkdir()
    shutil.copy(root / "study.yaml", study)
    export_site(study, tmp_path / "site")
    first = Found((tmp_path / "site" / "index.html").read_text())
    assert "All 0 labels; 0 of 0 concepts" in first.text and "Not finished" in first.text
    shutil.copytree(root / "tables" / "prompts", study / "tables" / "prompts")
    shutil.copytree(root / "done", study / "done")  # whose other tables are lost
    with pytest.raises(AtlasError):
        export_site(study, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_concepts_of_a_site_are_those_with_a_label_then_those_that_overlap_most(source):
    rows = source.atlas.rows("concept_labels", None, {"t": 0.5, "kind": "trained"}).to_pylist()
    ranked = sorted({r["cid"] for r in rows}, key=lambda cid: max(
        (r["assigned"], r["iou_selection"]) for r in rows if r["cid"] == cid), reverse=True)  # fmt: skip
    (at,) = [at for at in planned(source, 2, 2).concepts if at.t == 0.5]
    assert best_concepts(source, at, 9) == ranked == [0, 1] and best_concepts(source, at, 1) == [0]


def test_the_images_of_a_site_are_among_the_strongest_of_most_concepts(source, monkeypatch):
    strongest = {(1.0, 0): [5, 3], (1.0, 1): [3, 9], (0.5, 0): [9, 3], (0.5, 1): [4]}  # (t, CID) -> images

    def rows(self, table, columns, where):
        assert table == "concept_examples" and where["bin"] == 0
        return pa.table({"prompt_id": [i for cid in where["cid"] for i in strongest[where["t"], cid]]})

    chosen = {at: [0, 1] for at in planned(source, 2, 2).concepts}
    monkeypatch.setattr(source, "arrow", lambda *_: pa.table({"prompt_id": [3, 4, 5, 6]}))  # 9 was not kept
    monkeypatch.setattr("concept_atlas.Atlas.rows", rows)
    assert most_shown(source, chosen, 1) == [3] and most_shown(source, chosen, 2) == [3, 4]
    assert most_shown(source, chosen, 9) == [3, 4, 5]


def test_files_of_labels_are_told_apart_whatever_they_are_called(source, monkeypatch):
    odd = ["a/b", "A b", "..", "", "Ünïcode" * 40, "con\x00trol", "a-b"]
    monkeypatch.setattr("explorer.plan.known_labels", lambda source: dict.fromkeys(odd, 1))
    files = [file for file in planned(source, 1, 1).files.values() if file.startswith("label/")]
    assert len({file.casefold() for file in files}) == len(files) >= len(odd) - 1
    assert all(len(Path(file).parts) == 2 and len(file) < 80 and file.isascii() for file in files)


def test_asking_a_dictionary_at_a_time_answers_what_asking_a_concept_does(root, source):
    whole = Source(root, all_pages=True)
    for columns in (None, ["label", "iou"]):
        given = {"block": "mid", "t": 0.5, "conditioning": "cond", "k": 4, "kind": "trained", "cid": 1}
        assert whole.rows("concept_labels", columns, **given) == source.rows("concept_labels", columns, **given) != []


def test_codes_are_packed_strongest_first():
    codes = Codes(np.array([[[0.5, 2.0]], [[0.0, 1.5]]], np.float32), np.array([[[7, 300]], [[2, 1]]]))
    for cids, size, letter in ((codes.cids, 2, "H"), (codes.cids + 70_000, 4, "I")):
        told = packed(Codes(codes.values, cids))
        assert told["cid_bytes"] == size
        pairs = list(struct.iter_unpack(f"<{letter}f", b64decode(told["cells"])))
        assert pairs == [(cids[0, 0, 1], 2.0), (cids[0, 0, 0], 0.5), (cids[1, 0, 1], 1.5), (cids[1, 0, 0], 0.0)]


def test_a_large_picture_becomes_a_small_one_and_a_small_one_stays():
    small = encode_png(np.full((8, 8, 3), 7, np.uint8))
    assert smaller(small) == ("png", small)
    noise = np.random.default_rng(0).integers(0, 255, (600, 800, 3), np.uint8)
    ending, data = smaller(encode_png(noise))
    assert ending == "jpg" and decode_png(data).shape == (384, 512, 3)


class Nowhere:
    """A place that has the file a.html, and asks for nothing."""

    def link(self, address):
        return {"/a": "a.html", "/p": "p.png"}.get(address)

    def layout(self, address, label):
        return {"data-grid": "2 2", "data-on": f"{address} {label}"}

    def mask(self, address, label):
        return {"class": "unread", "title": f"{address} {label}"}


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        (
            '<div class="map" data-codes="/c" data-label="a &amp; b">',
            '<div class="map" data-label="a &amp; b" data-grid="2 2" data-on="/c a &amp; b">',
        ),
        (
            '<div class="map" data-masks="/m" data-label="a">',
            '<div class="map unread" data-label="a" title="/m a">',
        ),
        ('<a href="/a" title="x &amp; y">1</a>', '<a href="a.html" title="x &amp; y">1</a>'),
        ('<a class="c" href="/b">1 <b>2</b></a>', '<span class="c">1 <b>2</b></span>'),
        ('<a rel="next" href="/b">2</a> <a href="/b">3</a>', " <span>3</span>"),
        ('<a href="/b"><img src="/p" alt=""></a>', '<span><img src="p.png" alt=""></span>'),
        ('<img src="/q" alt="&lt;a&gt;">', '<img alt="&lt;a&gt;">'),
        ('<abbr title="a">b</abbr> &lt;a href="/a"&gt;', '<abbr title="a">b</abbr> &lt;a href="/a"&gt;'),
    ],
)
def test_addresses_become_files_and_all_else_stays(text, becomes):
    assert rewritten(text, Nowhere()) == becomes


def test_an_address_is_one_however_it_is_written():
    assert canonical("?k=2", "/label/a%20b") == canonical("/label/a b?k=2") == "/label/a b?k=2"
    assert canonical("/compare?b=x%2Fy&a=1") == canonical("/compare?a=1&b=x/y")


def test_modules_become_one_script_each_after_what_it_needs():
    texts = {
        "a": 'import { two, three } from "./b.js";\nimport { one } from "./c.js";\ntwo(one);\n',
        "b": 'import { one } from "./c.js";\nexport const two = one;\nexport async function three() {}\n',
        "c": "export const one = 1;\n",
    }
    made = bundle("a", texts.__getitem__)
    order = [made.index(f"const of_{name} = ") for name in "cba"]
    assert order == sorted(order) and made.count("const one = 1;") == 1
    assert "return { two, three };" in made and "const { two, three } = of_b;" in made
    assert "import" not in made and "export" not in made


@pytest.mark.parametrize(
    "text", ['import x from "./b.js";', "export default 1;", "export { a };", 'import { a as b } from "./b.js";']
)
def test_a_module_of_another_form_is_refused(text):
    with pytest.raises(ValueError, match="is no import or export of the form"):
        bundle("a", defaultdict(str, a=text).__getitem__)


def test_modules_that_import_each_other_are_refused():
    texts = {"a": 'import { x } from "./b.js";\n', "b": 'import { y } from "./a.js";\n'}
    with pytest.raises(ValueError, match="imports itself"):
        bundle("a", texts.__getitem__)
