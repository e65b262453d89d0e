"""Asking for an edit in a page, and the page of one that was kept: who may, what may be asked, what is told."""

import json
import re
import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest
from starlette.testclient import TestClient

from concept_atlas import AtlasError
from explorer.app import application
from explorer.edit_page import requested
from explorer.guard import LONGEST_REQUEST
from explorer.jobs import WAITING, Jobs
from explorer.source import Source
from storage.images import encode_png
from tests.explorer.conftest import SCRIPT, kept

ASKED = {"prompt": "a tree", "concept": "tree", "window": "early", "strength": "4", "region": "left", "seed": ""}


@pytest.fixture
def edited(root, tmp_path):
    """A study with one kept edit, and its client."""
    study = shutil.copytree(root, tmp_path / "study")
    given = {"prompt": SCRIPT, "concept": "tree", "operation": "place", "strength": 4.0, "region": "cells:4x4:8421"}
    given |= {"window": "early", "t_low": 0.6, "t_high": 1.0, "sites": ["mid/1.00/cond"], "cids": [[1, 5]]}
    given |= {
        "judged": "tree",
        "score_before": 0.1234567,
        "score_after": 0.8765432,
        "score_control": 0.2,
        "controls": 1,
        "off_distribution_after": 1.7654321,
        "off_distribution_control": 1.25,
        "off_downstream_after": 1.0625,
    }
    kept(study, "tree-early-0123abcd", **given, cautions=["the prompt does not name 'tree'"])
    return SimpleNamespace(root=study, client=TestClient(application(Source(study)), base_url="http://localhost"))


def token_of(client):
    return re.search(r'data-token="([^"]+)"', client.get("/edit").text)[1]


def test_the_form_offers_what_the_study_has_and_takes_an_image_of_it(client):
    page = client.get("/edit?image=0&concept=1&block=mid").text
    assert "&lt;script&gt;" in page and "<script>alert" not in page
    assert '<option value="tree">' in page and 'value="early" data-low="0.6" data-high="1.0"' in page
    assert "<option selected>mid</option>" in page and 'src="/image/0/picture"' in page
    assert client.get("/edit?image=77").status_code == 404


def test_a_kept_edit_has_a_page_of_its_own_that_shows_what_was_done(edited):
    page = edited.client.get("/edit/tree-early-0123abcd").text
    for said in (
        "4 painted cells of 4x4",
        "mid/1.00/cond: 1, 5",
        "0.8765432",
        "1.7654321",
        "1.0625",
        "does not name &#39;tree&#39;",
        "1 to 0.6",
    ):
        assert said in page, said
    assert "<script>alert" not in page
    assert 'href="/edit/tree-early-0123abcd"' in edited.client.get("/edit").text
    for n, picture in enumerate(("before", "after", "control")):
        answer = edited.client.get(f"/edit/tree-early-0123abcd/{picture}")
        assert answer.content == encode_png(np.full((8, 8, 3), 20 * n, np.uint8))
        assert answer.headers["content-type"] == "image/png"


def test_an_edit_or_picture_that_is_not_there_or_not_whole_is_told(edited):
    missing = edited.client.get("/edit/tree-early-0123abce")
    assert missing.status_code == 404 and 'href="/edit/tree-early-0123abcd"' in missing.text
    for address in ("/edit/tree-early-0123abcd/mask", "/edit/..%2fstudy/before", "/edit/%2e%2e/before"):
        assert edited.client.get(address).status_code == 404
    path = edited.root.with_name("study-edits") / "tree-early-0123abcd" / "after.png"
    path.write_bytes(path.read_bytes() + b"x")
    damaged = edited.client.get("/edit/tree-early-0123abcd/after")
    assert damaged.status_code == 503 and "is not the picture that was written" in damaged.text
    (edited.root.with_name("study-edits") / "edits" / "tree-early-0123abcd.parquet").write_bytes(b"PAR1")
    assert edited.client.get("/edit").status_code == 200
    assert edited.client.get("/edit/tree-early-0123abcd").status_code == 404


def test_only_the_explorers_own_page_may_ask(edited):
    post, token = edited.client.post, token_of(edited.client)
    body = json.dumps(ASKED)
    ours = {"content-type": "application/json", "x-token": token}
    refused = {
        403: ({**ours, "x-token": "guessed"}, {**ours, "origin": "http://evil.example"}, {**ours, "origin": "null"}),
        415: ({**ours, "content-type": "text/plain"}, {**ours, "content-type": "application/x-www-form-urlencoded"}),
    }
    for status, given in refused.items():
        assert [post("/edit", content=body, headers=one).status_code for one in given] == [status] * len(given)
    assert post("/edit", content=" " * (LONGEST_REQUEST + 1), headers=ours).status_code == 413
    assert post("/edit", content=iter([body.encode()]), headers=ours).status_code == 413  # of a size that is not told
    assert post("/edit", content="{", headers=ours).status_code == 400
    assert post("/edit/tree-early-0123abcd", content=body, headers=ours).status_code == 405
    assert not list(edited.root.with_name("study-edits").glob("*left*"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "a set of fields"),
        ({"settings": "a"}, "An edit has no 'settings'"),
        ({"keep": True}, "An edit has no 'keep'"),
        ({"prompt": 7}, "prompt is a text of at most 2000 letters"),
        ({"prompt": "a" * 2001}, "prompt is a text of at most 2000 letters"),
        ({"strength": "strong"}, "strength is a number, and 'strong' is none"),
        ({"seed": "1.5"}, "seed is a number"),
        ({"seed": float("inf")}, "seed is a number"),
        ({"region": "/etc/passwd"}, "a name, as in left, a box or painted cells"),
        ({"region": "../mask.png"}, "a name, as in left"),
        ({"region": "study.yaml"}, "a name, as in left"),
    ],
)
def test_what_is_no_edit_is_one_sentence_and_no_text_becomes_a_file(given, said):
    with pytest.raises(AtlasError, match=re.escape(said)):
        requested(given)


def test_a_request_is_what_the_library_takes():
    assert requested(ASKED) == {
        "prompt": "a tree",
        "concept": "tree",
        "window": "early",
        "strength": 4.0,
        "region": "left",
    }
    assert requested({"prompt": " ", "controls": 3, "seed": "12"}) == {"prompt": "", "controls": 3, "seed": 12}
    assert requested({"region": "cells:2x2:8"})["region"] == "cells:2x2:8"


def finished(jobs, number):
    end = time.monotonic() + 20
    while (told := jobs.told(number))["state"] in ("waiting", "working"):
        assert time.monotonic() < end
        time.sleep(0.01)
    return told


def test_edits_are_made_one_after_the_other_and_a_failure_stops_nobody():
    seen = []

    def edit(prompt, settings, keep, progress):
        seen.append((prompt, settings, keep))
        progress(3, 12)
        if prompt == "bad":
            raise AtlasError("model.path /gone is not a folder")
        if prompt == "worse":
            raise ZeroDivisionError("a fault of ours")
        return SimpleNamespace(row={"edit": f"{prompt}-1"})

    jobs = Jobs(SimpleNamespace(atlas=SimpleNamespace(edit=edit), models=("model.path=here",)))
    numbers = [jobs.submit({"prompt": prompt}) for prompt in ("bad", "worse", "good")]
    told = [finished(jobs, number) for number in numbers]
    assert [one["state"] for one in told] == ["failed", "failed", "done"] and told[2]["edit"] == "good-1"
    assert [one["steps"] for one in told] == [[3, 12]] * 3
    assert told[0]["said"] == "model.path /gone is not a folder" and "ZeroDivisionError" in told[1]["said"]
    assert seen == [(prompt, ("model.path=here",), True) for prompt in ("bad", "worse", "good")]
    assert jobs.told("0" * 16) is None


def test_no_more_wait_than_there_is_room_for(monkeypatch):
    jobs = Jobs(SimpleNamespace())
    monkeypatch.setattr(jobs, "_work", lambda: None)  # nobody takes them from the line
    for _ in range(WAITING):
        jobs.submit({})
    with pytest.raises(AtlasError, match=f"{WAITING} edits wait already"):
        jobs.submit({})


def test_a_page_tells_why_an_edit_cannot_be_made(edited):
    token = token_of(edited.client)
    answer = edited.client.post("/edit", json={**ASKED, "window": "noon"}, headers={"x-token": token})
    assert answer.status_code == 202
    end = time.monotonic() + 60
    while (told := edited.client.get(f"/edit/job/{answer.json()['job']}").json())["state"] in ("waiting", "working"):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert told["state"] == "failed" and "noon" in told["said"]
    assert edited.client.get("/edit/job/0").status_code == 404
    assert edited.client.post("/edit", json={"region": "a/b"}, headers={"x-token": token}).status_code == 422
