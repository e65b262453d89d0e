"""``concepts check``: everything that a study would meet is looked at, nothing is written, and its counts hold."""

import pyarrow.parquet as pq
import pytest

from storage.activations import ActivationStore
from storage.tables import count_rows, parts
from study.config import load_config
from study.inputs import check_inputs
from study.outlook import edits_of, kept_images, outlook
from tests.paths import ROOT
from tests.system.conftest import SMALL, given

TINY = ROOT / "configs" / "tiny.yaml"
pytestmark = pytest.mark.system


def test_the_finished_study_is_what_was_foretold(tiny_study):
    config = load_config(TINY)
    found = outlook(config, check_inputs(config))
    store = ActivationStore.open(tiny_study)
    raw = sum(store.read(site, 0, store.n_prompts).nbytes for site in store.sites)
    assert found.activation_bytes == raw and found.sites == len(store.sites) and found.shards == store.n_shards
    weights = [path.stat().st_size for path in (tiny_study / "saes").rglob("sae_weights.safetensors")]
    assert found.saes == len(weights) == count_rows(tiny_study, "sae_metrics")
    assert found.sae_bytes < sum(weights) < 1.03 * found.sae_bytes  # and their headers
    assert count_rows(tiny_study, "images") == kept_images(config)
    edited = [row for part in parts(tiny_study, "interventions") for row in pq.read_table(part).to_pylist()]
    images = [row["image"] for row in edited if row["image"] is not None]
    assert 0 < len(images) <= edits_of(config)
    pngs = sum(map(len, images)) + sum(path.stat().st_size for path in parts(tiny_study, "images"))
    assert pngs < found.image_bytes


def test_it_tells_counts_bytes_and_time_and_writes_nothing(launch, tmp_path):
    done = launch("check", "configs/tiny.yaml", "--root", str(tmp_path / "study"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "study tiny" and lines[1].startswith("collect      56 prompts in 7 shards, 4 sites")
    assert lines[-2].startswith("time         about ") and "a piece of each was timed" in lines[-2]
    assert lines[-1] == "all that the settings name is there" and not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("run.dask_address='tcp://127.0.0.1:1'", "run.task_runner is 'thread', which uses no cluster"),
        ("sae.batch_size=4096", "give only 1024 vectors at block 'mid'"),
        ("model.path=/nowhere", "model.path /nowhere is not a folder"),
        ("prompts.splits.train=90000000", "prompts.splits ask for"),
    ],
)
def test_what_would_stop_a_study_is_told(launch, setting, says):
    done = launch("check", "configs/tiny.yaml", "--no-timing", "--set", setting)
    assert done.returncode == 2 and says in done.stderr and done.stdout == "" and done.stderr.count("\n") == 1


def test_a_new_study_tells_first_what_it_will_do(launch, tmp_path):
    arguments = ("collect", "configs/tiny.yaml", "--root", str(tmp_path / "study"), *given(*SMALL))
    done = launch(*arguments)
    assert done.returncode == 0 and done.stdout.startswith("study tiny\ncollect      40 prompts")
    again = launch(*arguments)
    assert again.returncode == 0 and "nothing to do" in again.stdout and "study tiny" not in again.stdout
