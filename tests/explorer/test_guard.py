"""Only this machine reads, nothing is written, no address reaches the disk, and what does not exist is told kindly."""

import re
import shutil
import socket

import pytest
from starlette.testclient import TestClient

import concept_atlas
from concept_atlas import AtlasError
from explorer.app import application
from explorer.server import explore, listening
from explorer.source import KEPT_VIEWS, Source
from storage.records import forget_record
from storage.study import SEAL
from storage.tables import part_path
from storage.vouch import digest_of_bytes
from tests.explorer.conftest import row
from tests.parts import add_part, label_row
from tests.paths import ROOT


def test_every_answer_has_a_policy_that_lets_no_script_of_others_and_no_inline_one_run(client):
    for address in ("/", "/nope", "/static/maps.js", "/image/0/picture", "/image/77/codes/mid/0.50/cond/k4"):
        headers = client.get(address).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'" and "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and "access-control-allow-origin" not in headers


@pytest.mark.parametrize("host", ["localhost", "localhost:8600", "127.0.0.1:1", "[::1]:8600", "LOCALHOST:9"])
def test_names_of_this_machine_are_answered_on_any_port(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8600", "[::2]", ""])
def test_any_other_name_is_refused(client, host):
    answer = client.get("/", headers={"host": host})
    assert answer.status_code == 421 and "study" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD"])
def test_pages_are_read_and_nothing_else(client, method):
    answer = client.request(method, "/")
    assert answer.status_code == 405 and answer.headers["allow"] == "GET"
    assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 404


def test_a_long_address_is_refused(client):
    assert client.get(f"/search?q={'a' * 5000}").status_code == 414


@pytest.mark.parametrize(
    "address",
    [
        "/static/../app.py", "/static/%2e%2e%2fapp.py", "/static/..%5capp.py", "/label/../../study.yaml",
        "/label/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/..%2f..%2fetc/0.50/cond/k4/0", "/image/..%2f0/picture",
        "/mid/..%2f../cond/k4/0", "/image/0/codes/..%2f..%2f/0.50/cond/k4", "/image/-1", "/image/1e3", "/image/٣",
        "/image/99999999999999999999", "/mid/0.50/cond/k4/-1", "/mid/0.50/cond/k4/0x1", "/mid/nan/cond/k4/0",
    ],
)  # fmt: skip
def test_an_address_that_names_nothing_opens_nothing(client, monkeypatch, address):
    for known in ("/nowhere", "/image/77", "/label/nope", "/mid/0.50/cond/k4/9"):  # whose templates and tables are read
        client.get(known)
    opened = []
    monkeypatch.setattr("builtins.open", lambda *given, **_: opened.append(given))
    answer = client.get(address)
    assert answer.status_code == 404 and opened == []
    assert "root:" not in answer.text and "sha256" not in answer.text


def test_what_does_not_exist_names_the_nearest(client):
    missing = {
        "/mid/0.50/cond/k4/99": ("they go from 0 to 1", "/mid/0.50/cond/k4/1"),
        "/mid/0.60/cond/k4/0": ("no dictionary mid/0.60/cond/k4", "/mid/0.50/cond/k4/0"),
        "/label/tee": ("no such label", "/label/tree"),
        "/image/7": ("they go from 0 to 8", "/image/8"),
        "/nothing/here": ("no such page", "/"),
    }
    for address, (said, near) in missing.items():
        answer = client.get(address)
        assert answer.status_code == 404 and said in answer.text and f'href="{near}"' in answer.text, answer.text


def test_an_image_that_was_not_kept_has_a_page_and_no_picture(root, tmp_path):
    study = shutil.copytree(root, tmp_path / "study")
    add_part(study, "prompts", "000001", [row("prompts", prompt_id=2, caption="a kept word", split="train")])
    client = TestClient(application(Source(study)), base_url="http://localhost")
    assert "was not kept" in client.get("/image/2").text
    assert client.get("/image/2/picture").status_code == 404


def test_an_empty_study_shows_every_page_it_can(root, tmp_path):
    shutil.copy(root / "study.yaml", tmp_path)
    client = TestClient(application(Source(tmp_path)), base_url="http://localhost")
    first = client.get("/")
    assert first.status_code == 200 and "No image is labelled yet" in first.text
    assert first.text.count("No rows yet: `concepts") == 5
    for address, said in {
        "/label/tree": "labelled yet",
        "/mid/0.50/cond/k4/0": "no concepts yet",
        "/image/0": "drawn",
    }.items():
        answer = client.get(address)
        assert answer.status_code == 404 and said in answer.text
    assert client.get("/search?q=tree").status_code == 200


def test_a_damaged_table_is_told_where_it_stands_and_the_rest_is_shown(root, tmp_path):
    study = shutil.copytree(root, tmp_path / "study")
    part = part_path(study, "layout_scores", "all")
    part.write_bytes(part.read_bytes()[:-20])
    answer = TestClient(application(Source(study)), base_url="http://localhost").get("/")
    assert answer.status_code == 200 and "layout_scores" in answer.text and "Labels carried" in answer.text


def test_a_table_that_is_replaced_while_it_is_read_is_read_again(root, monkeypatch):
    source = Source(root)
    client, real, failed = TestClient(application(source), base_url="http://localhost"), source.atlas.rows, []

    def torn(table, *given):
        if table == "concepts" and not failed:
            failed.append(table)
            raise AtlasError("half of it is new")
        return real(table, *given)

    monkeypatch.setattr(source.atlas, "rows", torn)
    assert client.get("/mid/0.50/cond/k4/0").status_code == 200 and failed
    monkeypatch.setattr(source.atlas, "rows", lambda *given: torn(*given) if given[0] != "concepts" else 1 / 0)
    source.forget()
    with pytest.raises(ZeroDivisionError):  # a fault of ours is no damage of the study's
        client.get("/mid/0.50/cond/k4/0")


def test_what_is_written_meanwhile_is_shown(root, tmp_path):
    study = shutil.copytree(root, tmp_path / "study")
    client = TestClient(application(Source(study)), base_url="http://localhost")
    assert client.get("/image/2").status_code == 404
    add_part(study, "prompts", "000001", [row("prompts", prompt_id=2, caption="late words", split="layout")])
    assert "late words" in client.get("/image/2").text


def test_what_is_written_far_below_a_stages_folder_is_shown(root, tmp_path):
    study = shutil.copytree(root, tmp_path / "study")
    page = TestClient(application(Source(study)), base_url="http://localhost")
    for label, unit in (("first", "mid/1.00/cond/k4"), ("second", "mid/0.50/cond/k4")):
        assert page.get(f"/label/{label}").status_code == 404
        add_part(study, "concept_labels", label, [label_row(0, 0.3, label=label)], unit)
        assert page.get(f"/label/{label}").status_code == 200
    before = Source(study).atlas.stamp
    assert Source(study).atlas.stamp == before
    forget_record(study, "label", "mid/0.50/cond/k4")
    assert Source(study).atlas.stamp != before


def test_answers_are_kept_until_something_is_written_and_no_longer_than_there_is_room(root, monkeypatch):
    source = Source(root)
    first = source.arrow("concepts", ["cid"], t=0.5)
    assert source.refreshed().arrow("concepts", ["cid"], t=0.5) is first
    assert source.arrow("concepts", ["cid"], t=1.0) is not first
    monkeypatch.setattr("explorer.source.KEPT_ANSWERS", 1)
    source.arrow("concepts", ["cid"], cid=0)
    assert source.arrow("concepts", ["cid"], t=0.5) is not first
    views = [source.view("mid", t, "cond", 4) for t in (1.0, 0.5, 0.5)]
    assert views[1] is views[2] and (source.view("mid", 1.0, "cond", 4) is views[0]) == (KEPT_VIEWS > 1)


def test_the_public_face_names_what_the_pages_ask_for(source):
    atlas = source.atlas
    assert concept_atlas.writer_of("layout_scores") == "layout"
    assert {stage.command for stage in atlas.progress} == {
        "collect", "train", "label", "layout", "intervene", "figures"
    }  # fmt: skip
    assert all(0 <= stage.done <= stage.units for stage in atlas.progress) and atlas.ks == [4]
    with pytest.raises(AtlasError, match="has no column 'nope'"):
        atlas.rows("concepts", ["nope"])
    with pytest.raises(AtlasError, match="there is no table 'nope'"):
        atlas.rows("nope")
    with pytest.raises(AtlasError, match="there is no table"):
        concept_atlas.meanings("../concepts")


def test_a_taken_port_and_a_folder_without_a_study_are_a_sentence(tmp_path, root):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AtlasError, match=f"port {port} of this machine cannot be had .*--port"):
            explore(root, port)
    with pytest.raises(AtlasError, match="is not a study folder"):
        explore(tmp_path, 0)
    with listening(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_study_of_a_newer_version_is_a_sentence(root, tmp_path):
    text = (root / "study.yaml").read_text(encoding="utf-8").split("\n", 1)[1]
    newer = tmp_path / "study.yaml"
    body = text.replace("format: 2", "format: 99", 1).encode()
    newer.write_bytes(f"{SEAL}: {digest_of_bytes(body)}\n".encode() + body)
    with pytest.raises(AtlasError, match="newer version of Concept Atlas"):
        explore(tmp_path, 0)


KNOWN = re.compile(r"http://www\.w3\.org/2000/svg|http-equiv")


def test_no_file_of_the_pages_loads_anything_from_elsewhere():
    files = [path for kind in ("templates", "static", "offline") for path in (ROOT / "explorer" / kind).iterdir()]
    texts = {path.name: path.read_text(encoding="utf-8") for path in files}
    assert len(texts) > 10
    assert [name for name, text in texts.items() if "http" in KNOWN.sub("", text)] == []
