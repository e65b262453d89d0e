"""``concepts status`` of every half-finished or damaged folder: what can be told is told, the rest has its problem."""

import re
import shutil

import pytest
import yaml

from flows.cli import main
from storage.schemas import SCHEMAS
from study.config import load_config
from tests.parts import add_part, open_study
from tests.paths import ROOT

ROWS = [{"prompt_id": i, "label": "tree", "score": 0.5, "tagger": "x"} for i in range(3)]


@pytest.fixture
def root(tmp_path):
    """A study with one part of tags and one row of runs, its name from a stranger."""
    root = tmp_path / "study"
    config = load_config(ROOT / "configs" / "tiny.yaml", []).model_dump(mode="json")
    open_study(root, {**config, "name": "tiny\x1b[2J"}, {})
    add_part(root, "tags", "a", ROWS)
    return root


def told(root, capsys):
    code = main(["status", str(root)])
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    return code, shown.out, shown.err


def line(output, table):
    return next(text for text in output.splitlines() if re.match(rf"  {table} +\d+ rows", text))


def test_a_whole_folder_has_no_problem_and_names_from_strangers_are_shown(root, capsys):
    code, output, _ = told(root, capsys)
    assert code == 0 and output.startswith(r"study tiny\x1b[2J in ")
    assert line(output, "tags").endswith("1 parts") and " 3 rows" in line(output, "tags")


def test_a_folder_with_study_yaml_alone(root, capsys):
    shutil.rmtree(root / "tables")
    shutil.rmtree(root / "done")
    code, output, _ = told(root, capsys)
    assert code == 0 and "plan            0 / 1      1 missing" in output and "activations: 0 sites" in output


def test_a_dictionary_that_was_not_learned_is_cautioned_about(root, capsys):
    assert "caution" not in told(root, capsys)[1]
    site = {"block": "mid", "t": 0.0, "conditioning": "cond", "k": 4, "expansion": 2, "seed": 0, "kind": "trained"}
    names = ("explained_variance", "fvu", "scaled_mse", "l0", "gamma", "init_nearest", "dead_fraction", "late_gain")
    row = {**site, **dict.fromkeys(names, 0.0), **dict.fromkeys(("n_vectors", "n_train_vectors", "steps"), 1)}
    add_part(
        root,
        "sae_metrics",
        "a",
        [{**row, "density_histogram": [1], "stability": None, "init_cosine": 0.875}],
    )
    code, output, _ = told(root, capsys)
    last = output.splitlines()[-1]
    assert code == 0 and last.startswith(
        "caution: init_cosine is above 0.5 in 1 of 1 dictionaries (largest at mid/0.00"
    )


PART, RECORD = "tables/tags/a.parquet", "done/tag/a.json"


def cut(path):
    path.write_bytes(path.read_bytes()[:50])


def make_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [cut, lambda p: p.write_bytes(b""), lambda p: p.unlink(), make_folder])
def test_a_part_that_is_missing_or_cut_short_is_said(root, capsys, damage):
    damage(root / PART)
    code, output, _ = told(root, capsys)
    assert code == 0 and "1 of 1 parts missing or cut short: run `concepts repair`" in line(output, "tags")
    assert line(output, "prompts").endswith("0 parts")


@pytest.mark.parametrize(
    "record",
    [b"", b"{", b"[]", b"\xff", b'{"tables": [1]}', b'{"tables": {"tags": {}}}', b'{"tables": {"tags": {"part": 1}}}'],
)
def test_a_damaged_record_costs_its_own_table_alone(root, capsys, record):
    (root / RECORD).write_bytes(record)
    code, output, _ = told(root, capsys)
    assert code == 0 and "tag             0 / 4" in output
    assert line(output, "prompts").endswith("0 parts") and all(line(output, table) for table in SCHEMAS)


def test_a_part_of_runs_from_before_records_that_is_cut_short(root, capsys):
    runs = root / "tables" / "runs"
    runs.mkdir(parents=True)
    (runs / "collect-38652016-3e4d-41a4-918d-65d054c5e4d4.parquet").write_bytes(b"PAR1 and no more")
    code, output, _ = told(root, capsys)
    assert code == 0 and "`concepts repair`" in line(output, "runs")


@pytest.mark.parametrize("name", ["tables", "done", "figures", "saes", "activations.zarr"])
def test_a_file_in_place_of_a_folder(root, capsys, name):
    shutil.rmtree(root / name, ignore_errors=True)
    (root / name).write_bytes(b"")
    code, _, errors = told(root, capsys)
    assert code in (0, 2) and "Traceback" not in errors and len(errors.splitlines()) == (code == 2)


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[", b"{}", b"config: 3\n", b"config: {}\n", b"- 1\n", b"a: \x1b[2J"]
)
def test_study_yaml_that_is_none(root, capsys, content):
    (root / "study.yaml").write_bytes(content)
    code, output, errors = told(root, capsys)
    assert code == 2 and not output and "study.yaml is damaged" in errors and len(errors.splitlines()) == 1


@pytest.mark.parametrize("lost", ["config_hash", "sae", "prompts", "sites", "interventions"])
def test_study_yaml_from_before_it_had_a_checksum_that_lost_a_setting(root, capsys, lost):
    known = yaml.safe_load((root / "study.yaml").read_text(encoding="utf-8"))
    old = {"config_hash": known["config_hash"], "config": {**known["config"], "name": "tiny"}}
    (old if lost in old else old["config"]).pop(lost)
    (root / "study.yaml").write_text(yaml.safe_dump(old), encoding="utf-8")
    code, output, errors = told(root, capsys)
    assert code == 2 and not output and "study.yaml is damaged (a setting is lost)" in errors
