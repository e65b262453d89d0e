"""Edits on an image's page, masks and layouts on a label's: what is shown is what the tables and folders hold."""

import shutil

import numpy as np
import pytest
from starlette.testclient import TestClient

import concept_atlas
from concept_atlas import AtlasError
from explorer.app import application
from explorer.image_edits import most_edited
from explorer.source import Source
from storage.images import encode_png
from tests.explorer.conftest import LAYOUT, SCRIPT, kept
from tests.explorer.test_pages import page, rows


def test_an_image_shows_each_window_of_its_edits_and_their_twins(client, source):
    found = page(client, "/image/0")
    pictures = [link for link in found.links if link.startswith("/image/0/edits/")]
    (twin,) = rows(source, "interventions", control="random_direction")
    wanted = [r for r in rows(source, "interventions", control="none") if r["window"] == "early"]
    late = [r for r in rows(source, "interventions", control="none") if r["window"] == "late"]
    assert [client.get(link).content for link in pictures] == [r["image"] for r in (*wanted, twin, *late)]
    text = found.text
    assert "tree in a region" in text and text.index("early") < text.index("late", text.index("early"))
    assert "edited: yes twin: no" in text and text.count("twin:") == 1  # the late one has none
    assert most_edited(source, 5) == [0] and most_edited(source, 0) == []


@pytest.mark.parametrize("name", ["2/after", "1/control", "0/before", "x/after", "-1/after"])
def test_a_picture_that_no_edit_has_is_not_there(client, name):
    assert client.get(f"/image/0/edits/{name}").status_code == 404


def test_an_image_without_edits_says_so_and_offers_one(client):
    found = page(client, "/image/1")
    assert "None of this image: concepts intervene edits" in found.text and "/edit?image=1" in found.links


def test_edits_made_by_hand_of_its_caption_stand_with_their_pictures(root, tmp_path):
    study = shutil.copytree(root, tmp_path / "study")
    kept(study, "tree-early-0123abcd", prompt=SCRIPT, concept="tree", operation="place", window="early", seed=0)
    kept(study, "tree-late-4567abcd", prompt=SCRIPT, concept="boat", operation="add", window="late", seed=7)
    kept(study, "tree-late-89abcdef", prompt="another", concept="hill", operation="add", window="late", seed=0)
    client = TestClient(application(Source(study)), base_url="http://localhost")
    found = page(client, "/image/0")
    assert {link for link in found.links if link.startswith("/edit/")} == {
        f"/edit/{name}{picture}"
        for name in ("tree-early-0123abcd", "tree-late-4567abcd")
        for picture in ("", "/before", "/after", "/control")
    }
    assert "place tree , early" in found.text and "add boat , late, from another noise" in found.text
    assert "hill" not in found.text and "place tree" not in page(client, "/image/1").text


def test_one_picture_of_an_edit_is_read_and_checked_by_itself(root, tmp_path):
    study = shutil.copytree(root, tmp_path / "study")
    folder = kept(study, "one", prompt="a")
    atlas = concept_atlas.open(study)
    (folder / "one" / "control.png").write_bytes(b"spoilt")
    expected = {name: encode_png(np.full((8, 8, 3), 20 * n, np.uint8)) for n, name in enumerate(("before", "after"))}
    assert {name: atlas.kept_picture("one", name) for name in expected} == expected
    with pytest.raises(AtlasError, match=r"control\.png is not the picture that was written"):
        atlas.kept_picture("one", "control")
    with pytest.raises(AtlasError, match=r"control\.png"):
        atlas.kept_pictures("one")
    for name, picture, said in (("two", "after", "holds no edit 'two'"), ("one", "mask", "and not 'mask'")):
        with pytest.raises(AtlasError, match=said):
            atlas.kept_picture(name, picture)
    (folder / "one" / "after.png").unlink()
    with pytest.raises(AtlasError, match="cannot be read"):
        atlas.kept_picture("one", "after")


def test_a_row_that_is_written_anew_is_read_anew(root, tmp_path):
    study = shutil.copytree(root, tmp_path / "study")
    folder = kept(study, "one", prompt="a")
    kept(study, "two", prompt="b")
    atlas = concept_atlas.open(study)
    assert [row["prompt"] for row in atlas.kept_edits] == ["b", "a"]
    whole = (folder / "edits" / "two.parquet").read_bytes()
    (folder / "edits" / "one.parquet").write_bytes(b"PAR1")
    assert [row["prompt"] for row in atlas.kept_edits] == ["b"]
    (folder / "edits" / "one.parquet").write_bytes(whole)
    assert [row["prompt"] for row in atlas.kept_edits] == ["b", "b"]


def test_a_label_shows_its_layouts_in_the_first_images_of_the_layout_split(client, source):
    found = page(client, "/label/tree")
    asked = [given for _, given in found.tags if "data-label" in given]
    assert {given["data-label"] for given in asked} == {"tree"}
    assert [given["data-masks"] for given in asked if "data-masks" in given] == ["/image/8/segments"]
    assert [given["data-codes"] for given in asked if "data-codes" in given] == [
        "/image/8/codes/mid/1.00/cond/k4", "/image/8/codes/mid/0.50/cond/k4"
    ]  # fmt: skip
    (told,) = client.get("/image/8/segments").json()["masks"].items()
    height, width = map(int, told[1]["size"].split())
    runs = [int(n) for n in told[1]["runs"].split()]
    mask = np.concatenate([np.full(n, i % 2 == 1) for i, n in enumerate(runs)]).reshape(height, width)
    assert told[0] == "tree" and np.array_equal(mask, source.atlas.segments(LAYOUT)["tree"]) and mask.sum() == 2
    assert mask[:2, 0].all()


def test_a_label_without_a_layout_says_that_it_has_none(client):
    address = next(link for link in page(client, "/").links if link.startswith("/label/") and "script" in link)
    found = page(client, address)
    assert "None of this label: it is in too few images" in found.text
    assert not any("data-masks" in given for _, given in found.tags)
