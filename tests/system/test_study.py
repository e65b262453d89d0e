"""The whole study through the command line: tables, damage, and a user's mistakes. Kills are in ``test_revise.py``."""

import re
import shutil

import pytest

from storage.query import query
from storage.schemas import SCHEMAS
from storage.tables import read_table
from study.opening import recorded_study
from study.stages import stages_of
from study.status import expected_units, status
from study.verify import verify
from tests.system.conftest import SMALL, given
from tests.vision.tiny_models import WORDS, build_tiny_vision

pytestmark = pytest.mark.system


def test_every_table_is_there_with_its_schema_and_rows(tiny_study):
    plain = recorded_study(tiny_study).config.model_dump(mode="json")
    written = {"runs"}.union(*(stage.tables for stage in stages_of("run") if stage.asked(plain)))
    for table, schema in SCHEMAS.items():
        found = read_table(tiny_study, table)
        assert (found.num_rows > 0) == (table in written) and found.schema.equals(schema), table
    assert len(list((tiny_study / "figures").glob("*.png"))) >= 4
    assert status(tiny_study)["done"] == expected_units(tiny_study)
    assert verify(tiny_study) == []


def test_tables_agree_with_each_other(tiny_study):
    sql = """
      select count(*) n from concept_labels l anti join concepts c
      on l.block = c.block and l.t = c.t and l.conditioning = c.conditioning and l.k = c.k and l.cid = c.cid
    """
    assert query(tiny_study, sql).to_pylist() == [{"n": 0}]
    sql = "select count(*) n from images i join prompts p using (prompt_id)"
    assert query(tiny_study, sql).to_pylist() == [{"n": 48}]  # of 16 training prompts only the first 8 are shown
    sql = (
        "select count(*) n from sae_metrics where explained_variance > 1 or l0 > k or dead_fraction not between 0 and 1"
    )
    assert query(tiny_study, sql).to_pylist() == [{"n": 0}]


def tables_of(root):
    """Every part of every table: when it was written, and its bytes. Of runs there may be more each time."""
    parts = [path for path in root.glob("tables/*/*") if path.parent.name != "runs"]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in parts}


@pytest.fixture(scope="module")
def tables(tiny_study):
    """The tables before any test of this module tries to change them."""
    found = tables_of(tiny_study)
    assert len({path.parent.name for path in found}) > 15
    return found


def test_a_finished_study_is_left_alone(tiny_study, tables, launch):
    assert launch("run", "configs/tiny.yaml", "--root", str(tiny_study)).returncode == 0
    assert tables_of(tiny_study) == tables


def test_damage_is_found_and_named(tiny_study, launch, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(tiny_study, root)
    shard = next((root / "activations.zarr").rglob("c/0/0/0/0"))
    shard.write_bytes(shard.read_bytes()[:-9])
    weights = next((root / "saes").rglob("k4/sae_weights.safetensors"))
    weights.write_bytes(weights.read_bytes()[:50])
    part = next((root / "tables" / "concepts").glob("*.parquet"))
    part.unlink()
    done = launch("verify", str(root))
    assert done.returncode == 1
    for path in (shard, weights, part):
        assert str(path.relative_to(root)) in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_real_detector_and_segmenter_run_the_whole_study(launch, tmp_path):
    paths = build_tiny_vision(tmp_path / "models")
    group = {
        "detector": paths["detector"],
        "segmenter": paths["segmenter"],
        "judge_clip": paths["clip"],
        "judge_clipseg": paths["clipseg"],
        "box_score": 0.0,
        "mask_score": 0.0,
        "min_area": 0.0,
    }
    words = [*WORDS[:8], "night"]  # with what the study's edits aim at
    settings = [f"vision.transformers={group}", "vision.backend=transformers", f"vision.vocabulary={words}"]
    settings += ["vision.mini=null", *SMALL, "sae.seeds=1", "sae.controls=[]"]
    flags = given(*(setting.replace("'", '"') for setting in settings))
    root = tmp_path / "study"
    done = launch("run", "configs/tiny.yaml", "--root", str(root), *flags)
    assert done.returncode == 0, done.stderr
    backends = query(root, "select distinct backend from segments").to_pylist()
    assert backends == [{"backend": "grounding-dino+sam"}] and verify(root) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--set", "sae.kk=1"], "unknown key 'sae.kk'"),
        (["--set", "model.path=/nowhere"], "is not a folder"),
        (["--set", "sampling.steps=5"], "another configuration .*sampling.steps: 4 -> 5"),
        (["--set", "seed=1"], "seed: 0 -> 1"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_two(tiny_study, tables, launch, arguments, says):
    done = launch("run", "configs/tiny.yaml", "--root", str(tiny_study), *arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.search(says, done.stderr) and tables_of(tiny_study) == tables


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("prompts.caption_column=words", "has no column 'words'; it has URL, TEXT"),
        ("sites.blocks={mid: nothing}", "the model has no block 'nothing'; it has"),
        ("sae.k=[60000]", "^concepts: sae.k is 60000 but the SAE of block 'mid' has only .* latents"),
    ],
)
def test_mistakes_found_at_run_time_leave_one_sentence(launch, tmp_path, override, says):
    done = launch("run", "configs/tiny.yaml", "--root", str(tmp_path / "s"), "--set", override)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr[-2000:]
    assert re.search(says, done.stderr)


def test_a_stage_without_its_predecessor_says_which_command(launch, tmp_path):
    done = launch("label", "configs/tiny.yaml", "--root", str(tmp_path / "s"))
    assert done.returncode == 2 and "run `concepts collect`" in done.stderr
