"""``import concept_atlas``: what it hands out is what the tables and files hold, and it writes nothing."""

import os
import subprocess
import sys
import sysconfig
import venv

import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest
from PIL import Image

import concept_atlas
from concept_atlas import types
from concept_atlas.house import ROOMS
from sae.io import load_sae
from storage.activations import ActivationStore
from storage.errors import StorageError
from storage.images import decode_png
from storage.query import query
from study.embedder import prepared_vectors
from study.errors import StudyError
from study.opening import recorded_study
from study.status import status
from tests.paths import ROOT
from vision.rle import decode
from vision.types import Backend

pytestmark = pytest.mark.system
SITE = ("mid", 0.0, "cond")
DICTIONARY_LABELS = "select distinct label from segments natural join prompts where split = 'dictionary' order by label"
AT = "block = 'mid' and t = 0 and conditioning = 'cond'"


@pytest.fixture(scope="module")
def atlas(tiny_study):
    return concept_atlas.open(tiny_study)


@pytest.fixture(scope="module")
def view(atlas):
    return atlas.at("mid", 0)


@pytest.fixture(scope="module")
def busiest(atlas):
    """The concept that fires in most images of the site."""
    return atlas.query(f"select cid from concepts where {AT} order by n_images desc, cid")["cid"][0].as_py()


def contents(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_query_has_the_form_that_is_asked_for(atlas, tiny_study):
    sql = "select label, count(*) n from segments group by label order by label"
    known = query(tiny_study, sql)
    assert isinstance(atlas.query(sql), pa.Table) and atlas.query(sql).equals(known)
    frame = atlas.query(sql, to="pandas")
    assert isinstance(frame, pandas.DataFrame) and frame["n"].tolist() == known["n"].to_pylist()
    frame = atlas.query(sql, to="polars")
    assert isinstance(frame, polars.DataFrame) and frame["label"].to_list() == known["label"].to_pylist()
    with pytest.raises(StudyError, match="to is 'excel': give one of 'arrow', 'pandas', 'polars'"):
        atlas.query(sql, to="excel")
    with pytest.raises(StorageError, match="a query is one statement that reads"):
        atlas.query("drop table segments")


def test_the_sites_are_those_recorded_and_another_is_told(atlas, tiny_study):
    assert atlas.sites == ActivationStore.open(tiny_study).sites
    with pytest.raises(StudyError, match=r"no site mid/0.25/cond: it has mid/1.00/cond, mid/0.00/cond"):
        atlas.at("mid", 0.25)
    with pytest.raises(StudyError, match="has SAEs of k = 4: name one of them"):
        atlas.at("mid", 0, k=3)
    with pytest.raises(StorageError, match=r"study.yaml"):
        concept_atlas.open(tiny_study / "figures")


def test_activations_are_the_stores_and_their_axes_are_named(view, tiny_study):
    known = ActivationStore.open(tiny_study).read(SITE, 0, 56)
    found = view.activations
    assert found.shape == known.shape == (56, *view.shape) and found.dtype == np.float16
    assert found.dimension_names == ("prompt", "row", "column", "channel") and found.chunks[0] == (8,) * 7
    assert np.array_equal(found.compute(), known)
    assert np.array_equal(found[7:9, 2].compute(), known[7:9, 2])


def test_codes_are_those_of_the_dictionary_and_of_the_examples(atlas, view, busiest, tiny_study):
    sae = load_sae(tiny_study / "saes" / "mid" / "0.00" / "cond" / "k4")
    concept = view.concept(busiest)
    example = concept.examples[0]
    codes = view.codes(example.prompt_id)
    rows, columns, channels = view.shape
    assert codes.values.shape == codes.cids.shape == (rows, columns, 4)
    assert np.allclose(codes.map(busiest), example.map) and example.map.max() > 0
    x = ActivationStore.open(tiny_study).read(SITE, example.prompt_id, example.prompt_id + 1).astype(np.float32)
    pre = (x.reshape(-1, channels) - sae.b_dec.numpy()) @ sae.W_enc.numpy()[:, busiest] + sae.b_enc.numpy()[busiest]
    on = codes.map(busiest).ravel() > 0
    assert np.allclose(codes.map(busiest).ravel()[on], pre[on], rtol=1e-3, atol=1e-3)
    strongest = codes.strongest(3)
    sums = [codes.map(cid).sum() for cid in range(sae.n)]
    assert strongest == sorted(range(sae.n), key=lambda cid: -sums[cid])[:3]
    same = atlas.codes(example.prompt_id, "mid", 0)
    assert np.array_equal(same.values, codes.values) and np.array_equal(same.cids, codes.cids)


def test_a_concept_has_the_rows_of_its_tables(view, busiest, atlas):
    concept = view.concept(busiest)
    of_it = f"{AT} and cid = {busiest}"
    assert concept.facts == atlas.query(f"from concepts where {of_it}").to_pylist()[0]
    labels = atlas.query(
        f"from concept_labels where {of_it} and kind = 'trained' order by assigned desc, iou_selection desc, label"
    )
    assert concept.labels.to_pylist() == labels.to_pylist() and labels.num_rows
    examples = atlas.query(f"from concept_examples where {of_it} order by bin, rank").to_pylist()
    assert [(e.prompt_id, e.bin, e.rank) for e in concept.examples] == [
        (r["prompt_id"], r["bin"], r["rank"]) for r in examples
    ]
    assert np.allclose(np.linalg.norm(concept.vector), 1.0, atol=1e-5)
    with pytest.raises(StudyError, match=r"mid/0.00/cond has no concept 99999: name one from 0 to 255"):
        view.concept(99999)
    with pytest.raises(StudyError, match="no concept -1"):
        view.concept(-1)


def test_what_fires_with_a_concept_is_counted_over_every_position_of_the_dictionary_split(view, busiest, atlas):
    concept, split = view.concept(busiest), "select prompt_id from prompts where split = 'dictionary'"
    images = [view.codes(prompt_id) for prompt_id in atlas.query(split)["prompt_id"].to_pylist()]
    strengths = [np.stack([codes.map(cid) for codes in images]) for cid in (busiest, *concept.activity["coactive"])]
    own, others = strengths[0] > 0, [one > 0 for one in strengths[1:]]
    shares = [(own & other).sum() / (own | other).sum() for other in others]
    assert len(shares) == 8 and shares == sorted(shares, reverse=True)
    assert concept.nearest(by="coactivation") == list(zip(concept.activity["coactive"], shares, strict=True))
    assert concept.nearest(3, by="coactivation") == concept.nearest(by="coactivation")[:3]
    assert concept.nearest() == view.nearest(busiest) and concept.nearest()[0][0] != busiest
    high = np.histogram(strengths[0][own], 20, (0, concept.facts["act_max"]))[0]
    assert np.abs(np.cumsum(high) - np.cumsum(concept.activity["histogram"])).max() <= 1  # other ends of the parts
    counted = atlas.query(f"from concept_activity where {AT} order by cid")
    densities = np.array(atlas.query(f"select density from concepts where {AT} order by cid")["density"])
    sums = np.array([sum(of) for of in counted["histogram"].to_pylist()])
    assert np.array_equal(sums, np.round(densities * own.size)) and sums[busiest] == own.sum()
    with pytest.raises(StudyError, match="by is 'label': give one of 'cosine', 'coactivation'"):
        concept.nearest(by="label")


def test_partners_lead_both_ways_through_time(atlas):
    first, last = atlas.at("mid", 1), atlas.at("mid", 0)
    matches = atlas.query("from concept_matches where block = 'mid' and kind = 'trained' order by cid_from").to_pylist()
    a, b = matches[0]["cid_from"], matches[0]["cid_to"]
    onward, back = first.concept(a).partners.to_pylist(), last.concept(b).partners.to_pylist()
    assert {r["cid_to"] for r in onward} == {r["cid_to"] for r in matches if r["cid_from"] == a}
    assert {r["cid_from"] for r in back} == {r["cid_from"] for r in matches if r["cid_to"] == b} and back


def test_concepts_of_a_label_are_those_that_it_was_given_to_best_first(view, atlas):
    given = f"from concept_labels where {AT} and kind = 'trained' and assigned"
    label = atlas.query(given)["label"][0].as_py()
    known = atlas.query(f"{given} and label = '{label}' order by iou_selection desc, cid")
    assert view.concepts(label).to_pylist() == known.to_pylist() and known.num_rows
    assert view.concepts("no such label").num_rows == 0
    assert view.concepts().num_rows == 256
    assert view.metrics().num_rows == atlas.query(f"from sae_metrics where {AT}").num_rows


def test_images_and_segments_are_those_stored(atlas):
    rows = atlas.query("select prompt_id, label, rle_counts, rle_size from segments order by prompt_id").to_pylist()
    prompt_id = rows[0]["prompt_id"]
    stored = atlas.query(
        f"select image, caption from images join prompts using (prompt_id) where prompt_id = {prompt_id}"
    )
    assert np.array_equal(np.asarray(atlas.image(prompt_id)), decode_png(stored["image"][0].as_py()))
    assert atlas.caption(prompt_id) == stored["caption"][0].as_py()
    found = atlas.segments(prompt_id)
    for label in {row["label"] for row in rows if row["prompt_id"] == prompt_id}:
        masks = [
            decode(r["rle_counts"], tuple(r["rle_size"]))
            for r in rows
            if (r["prompt_id"], r["label"]) == (prompt_id, label)
        ]
        assert np.array_equal(found[label], np.any(masks, 0))
    assert atlas.segments(0) == {}  # of the train split
    for ask in (atlas.image, atlas.caption, atlas.segments, lambda i: atlas.codes(i, "mid", 0)):
        with pytest.raises(StudyError, match="has no prompt 56: they go from 0 to 55"):
            ask(56)
    with pytest.raises(StudyError, match="the image of prompt 12 was not kept"):
        atlas.image(12)


def test_the_dictionary_of_all_times_is_a_kind(atlas, tiny_study):
    shared = atlas.at("mid", 0, kind="shared")
    known = load_sae(tiny_study / "saes" / "mid" / "0.00" / "cond" / "k4" / "shared")
    assert np.array_equal(shared.sae.W_dec.numpy(), known.W_dec.numpy())
    assert not np.array_equal(shared.sae.W_dec.numpy(), atlas.at("mid", 0).sae.W_dec.numpy())
    assert shared.concepts().num_rows == atlas.query(f"from shared_concepts where {AT}").num_rows > 0
    given = f"from concept_labels where {AT} and kind = 'shared' and assigned"
    for label in set(atlas.query(given)["label"].to_pylist()):
        cids = atlas.query(f"{given} and label = '{label}' order by iou_selection desc, cid")["cid"].to_pylist()
        assert shared.concepts(label)["cid"].to_pylist() == cids
    with pytest.raises(StudyError, match="examples and cards are of the dictionaries of single times"):
        shared.concept(0)
    with pytest.raises(StudyError, match="kind is 'frozen': give one of 'trained', 'shared'"):
        atlas.at("mid", 0, kind="frozen")


def test_everything_can_be_shown_and_nothing_is_written(atlas, view, busiest, tiny_study, launch, tmp_path):
    before = contents(tiny_study)
    concept = view.concept(busiest)
    card = concept.card()
    assert "Study tiny" in atlas._repr_html_() and "mid/0.00/cond" in view._repr_html_()
    page = concept._repr_html_()
    assert f"Concept {busiest}" in page and page.count("<img") == sum(e.bin == 0 for e in concept.examples)
    for shown in (atlas, view, concept):
        assert str(tiny_study) in repr(shown) or "mid/0.00/cond" in repr(shown)
    assert atlas.tables["prompts"] == 56 and contents(tiny_study) == before
    copy = tmp_path / "study"
    subprocess.run(["cp", "-r", str(tiny_study), str(copy)], check=True)
    done = launch("card", str(copy), "mid/0.00/cond", str(busiest))
    assert done.returncode == 0, done.stderr
    drawn = copy / "figures" / "cards" / f"mid-0.00-cond-k4-cid{busiest}.png"
    assert np.array_equal(np.asarray(card), np.asarray(Image.open(drawn)))


def test_plug_ins_implement_the_types_that_the_pipeline_asks_for():
    assert types.Backend is Backend and set(types.__all__) >= {"Tagger", "Detector", "Segmenter", "Judge"}
    assert concept_atlas.AtlasError is types.AtlasError and issubclass(StudyError, types.AtlasError)


def test_rows_of_given_values_are_those_of_a_query(atlas, busiest):
    given = {"block": "mid", "t": 0.0, "kind": ["trained", "shared"], "cid": busiest}
    known = atlas.query(f"from concept_labels where block = 'mid' and t = 0 and kind in ('trained', 'shared') "
                        f"and cid = {busiest} order by conditioning, k, kind, label").to_pylist()  # fmt: skip
    found = atlas.rows("concept_labels", None, given)
    assert known and sorted(found.to_pylist(), key=str) == sorted(known, key=str)
    assert atlas.rows("concept_labels", ["label"], given).column_names == ["label"]


def test_nearest_concepts_are_those_of_the_largest_cosine(view, busiest, tiny_study):
    vectors = load_sae(tiny_study / "saes" / "mid" / "0.00" / "cond" / "k4").concept_vectors().numpy().astype(float)
    cosines = vectors @ vectors[busiest] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[busiest])
    cosines[busiest] = -2
    found = view.concept(busiest).nearest(3)
    assert [cid for cid, _ in found] == np.argsort(-cosines)[:3].tolist()
    assert [cosine for _, cosine in found] == pytest.approx(np.sort(cosines)[::-1][:3].tolist(), abs=1e-5)


def test_labels_nearest_in_meaning_are_those_of_the_studys_embedder(atlas, tiny_study, tmp_path):
    labels = [row["label"] for row in atlas.query(DICTIONARY_LABELS).to_pylist()]
    units = dict(zip(labels, prepared_vectors(recorded_study(tiny_study), labels), strict=True))
    cosines = {label: float(units["tree"] @ units[label]) for label in labels}
    found = atlas.nearest_labels("tree", 4)
    assert [label for label, _ in found] == sorted(labels, key=lambda label: -cosines[label])[:4]
    assert found == [(label, pytest.approx(cosines[label], abs=1e-5)) for label, _ in found] and found[0][0] == "tree"
    assert {label for label, _ in atlas.nearest_labels("a tree that no label names", 99)} == set(labels)
    with pytest.raises(StudyError, match=r"none is not a folder.*--set model.path=FOLDER"):
        atlas.nearest_labels("tree", settings=[f"model.path={tmp_path / 'none'}"])


def test_progress_is_what_status_counts(atlas, tiny_study):
    told = status(tiny_study)
    assert {p.stage: p.done for p in atlas.progress} == told["done"]
    assert {p.stage: p.units for p in atlas.progress} == told["expected"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Python of an environment that has the wheel and, besides, what it depends on; not the checkout."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    rooms = [*ROOMS, "concept_atlas", "explorer", "miniature"]
    source.mkdir()
    for name in (*rooms, "pyproject.toml", "README.md", "LICENSE"):  # a build leaves its traces beside the source
        subprocess.run(["cp", "-r", str(ROOT / name), str(source / name)], check=True)
    pip = [sys.executable, "-m", "pip", "-q"]
    build = ["wheel", str(source), "--no-deps", "--no-build-isolation", "-w", str(place)]
    subprocess.run([*pip, *build], check=True, capture_output=True)
    venv.create(place / "env", with_pip=False)
    python = place / "env" / "bin" / "python"
    (library,) = (place / "env" / "lib").glob("python*/site-packages")
    (wheel,) = place.glob("*.whl")
    install = ["install", "--no-deps", "--no-index", "--target", str(library), str(wheel)]
    subprocess.run([*pip, *install], check=True, capture_output=True)
    # A path alone: the .pth files there, which lead to the checkout, are not read.
    (library / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python


LAB = {
    "tasks/__init__.py": "MINE = 'tasks'\n",
    "study/study.py": "raise RuntimeError('mine, and not for you')\n",
    "storage/__init__.py": "MINE = 'storage'\n",
    "storage/query.py": "raise RuntimeError('mine, and not for you')\n",
    "flows.py": "MINE = 'flows'\n",
}
USED = """
import concept_atlas, numpy
atlas = concept_atlas.open({root!r})
view = atlas.at("mid", 0, "cond")
concept = view.concept(0)
print(atlas.query("select count(*) as n from prompts")["n"][0].as_py(), view.activations[0].compute().shape)
assert concept_atlas.__file__.startswith({library!r}), concept_atlas.__file__
view.codes(0), concept.labels, concept.partners, concept._repr_html_(), atlas.image(0), atlas.segments(20)
from concept_atlas.types import Tagger
"""
MINE = """
import tasks, storage, flows
assert (tasks.MINE, storage.MINE, flows.MINE) == ("tasks", "storage", "flows")
"""


@pytest.mark.parametrize("order", ["mine first", "ours first"])
def test_a_folder_with_modules_of_our_names_gets_in_nobodys_way(installed, tiny_study, tmp_path, order):
    for name, text in LAB.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    used = USED.format(root=str(tiny_study), library=str(installed.parent.parent))
    script = MINE + used + MINE if order == "mine first" else used + MINE
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([installed, "-c", script], cwd=tmp_path, env=plain, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "56 (8, 8, 128)\n"
    code = f"import sys; sys.path.pop(0); from flows.cli import main; sys.exit(main(['status', {str(tiny_study)!r}]))"
    done = subprocess.run([installed, "-c", code], cwd=tmp_path, env=plain, capture_output=True, text=True)
    assert done.returncode == 0 and "study tiny" in done.stdout, done.stderr  # as the console script is started


ASKED = """
import sys
from starlette.testclient import TestClient
from explorer.app import application
from explorer.source import Source
source = Source(sys.argv[1])
client = TestClient(application(source), base_url="http://localhost")
at, image, label = sys.argv[2:]
for address in ("/", f"/label/{label}", f"/{at}/0", f"/image/{image}", f"/image/{image}/codes/{at}", "/search?q=sky",
                "/compare?a=mid/1.00/cond/k4&b=mid/0.00/cond/k4", f"/list?c={at}/0", "/edit"):
    assert client.get(address).status_code == 200, address
source.atlas.at("mid", 0.0).layouts(int(image))
"""


@pytest.mark.parametrize("code", ["import concept_atlas", ASKED], ids=["the import", "asking"])
def test_no_model_library_is_waited_for(code, tiny_study, atlas):
    """Nor by any page that makes no edit and asks for no meaning: PyTorch alone is 190 MB."""
    heavy = ("torch", "prefect", "transformers", "diffusers", "matplotlib")
    code += f"\nimport sys\nprint([name for name in {heavy!r} if name in sys.modules])"
    shown = atlas.query(
        "select prompt_id, label from segments natural join prompts where split = 'layout' limit 1"
    ).to_pylist()[0]
    asked = [str(tiny_study), "mid/0.00/cond/k4", str(shown["prompt_id"]), shown["label"]]
    done = subprocess.run([sys.executable, "-c", code, *asked], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


FIRST_PAGE = """
import gc, sys
import uvicorn
from starlette.testclient import TestClient
def run(server, sockets):
    answer = TestClient(server.config.app, base_url="http://localhost").get("/")
    print(answer.status_code, gc.isenabled(), sorted({"duckdb", "pandas", "scipy", "torch", "zarr"} & set(sys.modules)))
uvicorn.Server.run = run
sys.argv = ["concepts", "explore", sys.argv[1], "--port", "0"]
from flows.cli import main
sys.exit(main())
"""


def test_the_explorers_first_page_waits_for_no_library_that_it_does_not_need(tiny_study):
    done = subprocess.run([sys.executable, "-c", FIRST_PAGE, str(tiny_study)], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["200 True []"], done.stdout + done.stderr
