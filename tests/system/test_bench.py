"""The bench through the command line."""

import json
import shutil

import pyarrow.parquet as pq
import pytest

from flows.cli import main
from miniature.settings import default_world
from miniature.truth import write_truth
from storage.tables import read_table
from study.errors import StudyError
from study.saes import HELD
from study.verify import verify
from tasks.truth import read_truth
from tests import glossary
from tests.paths import ROOT
from tests.system.conftest import SMALL, given

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def truth_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("truth") / "truth.parquet"
    write_truth(path, 80, default_world())
    return path


def of(root) -> list[str]:
    return [str(ROOT / "configs" / "tiny.yaml"), "--root", str(root), *given(*SMALL)]


@pytest.fixture(scope="module")
def benched(small_study, truth_file, launch, tmp_path_factory):
    """A copy of the small study, scored, with its own SAE of one site given once more as a user's."""
    root = tmp_path_factory.mktemp("bench") / "small"
    shutil.copytree(small_study, root)
    mine = f"mine=mid/0.00/cond={root / 'saes' / 'mid' / '0.00' / 'cond' / 'k4'}"
    done = launch("bench", *of(root), "--truth", str(truth_file), "--dictionary", mine)
    assert done.returncode == 0, done.stderr
    assert "trained" in done.stdout and "pca" in done.stdout
    return root


@pytest.mark.slow
def test_every_method_is_scored_at_every_site_and_the_table_is_whole(benched):
    rows = read_table(benched, "bench").to_pylist()
    sites = {(row["block"], row["t"]) for row in rows}
    assert sites == {("mid", 1.0), ("mid", 0.0)}
    methods = {row["method"] for row in rows}
    assert methods >= {"trained", "shared", *HELD, "untrained", "neurons", "pca", "ica", "nmf", "probe", "mine"}
    for row in rows:
        assert 0 <= row["precision_ci_low"] <= row["precision"] <= row["precision_ci_high"] <= 1
        assert 0 <= row["recall_ci_low"] <= row["recall"] <= row["recall_ci_high"] <= 1
    assert verify(benched) == []
    assert glossary.words_in(benched) - {"mine"} <= glossary.defined()


def test_a_users_folder_of_our_own_sae_gets_our_own_scores(benched):
    rows = read_table(benched, "bench").to_pylist()
    here = [row for row in rows if (row["block"], row["t"]) == ("mid", 0.0)]
    ours, mine = ([{**row, "method": ""} for row in here if row["method"] == name] for name in ("trained", "mine"))
    assert ours and ours == mine


@pytest.mark.slow
def test_a_second_run_scores_nothing_and_another_truth_everything(benched, launch, tmp_path):
    stamps = {f: f.stat().st_mtime_ns for f in (benched / "tables" / "bench").glob("*")}
    record = benched / "done" / "bench" / "0.00" / "cond.json"
    facts = json.loads(record.read_text())["inputs"]
    other = tmp_path / "other.parquet"
    write_truth(other, 60, default_world())
    arguments = ("bench", *of(benched), "--truth", str(other))
    assert launch(*arguments).returncode == 0
    changed = {f: f.stat().st_mtime_ns for f in (benched / "tables" / "bench").glob("*")}
    assert changed.keys() == stamps.keys() and all(changed[f] != stamps[f] for f in stamps)
    assert json.loads(record.read_text())["inputs"] != facts
    assert launch(*arguments).returncode == 0
    assert {f: f.stat().st_mtime_ns for f in (benched / "tables" / "bench").glob("*")} == changed


def test_mistakes_are_one_sentence(tiny_study, truth_file, tmp_path, capsys):
    base = ("bench", str(ROOT / "configs" / "tiny.yaml"), "--root", str(tiny_study), "--truth")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(truth_file.read_bytes()[:500])
    lacking = tmp_path / "lacking.parquet"
    pq.write_table(pq.read_table(truth_file).drop_columns(["labels"]), lacking)
    k4 = tiny_study / "saes" / "up" / "0.00" / "cond" / "k4"
    for arguments, words in (
        (
            (str(tmp_path / "none.parquet"),),
            "is missing: write the scene world's truth with `python -m miniature.truth",
        ),
        ((str(broken),), "broken.parquet cannot be read as Parquet"),
        ((str(lacking),), "lacks the column 'labels'"),
        ((str(truth_file), "--dictionary", "mine"), "write NAME=BLOCK/T/COND=FOLDER"),
        ((str(truth_file), "--dictionary", f"mine=top/0.00/cond={k4}"), "the study has no site 'top/0.00/cond'"),
        ((str(truth_file), "--dictionary", f"mine=up/0.00/cond={tmp_path}"), "holds no sae_weights.safetensors"),
        ((str(truth_file), "--dictionary", f"mine=mid/0.00/cond={k4}"), "encodes 64 channels, the site has 128"),
    ):
        assert main([*base, *arguments]) == 2  # refused before any server is started
        assert words in capsys.readouterr().err


def test_a_mask_of_the_wrong_size_is_named_by_row_and_label(truth_file, tmp_path):
    table = pq.read_table(truth_file)
    rows = table.to_pylist()
    rows[3]["labels"][0]["rle_counts"][0] += 1
    path = tmp_path / "bad.parquet"
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), path)
    with pytest.raises(StudyError, match=r"bad.parquet, row 3, label '\w+': runs cover 4097 pixels"):
        read_truth(path)
