"""docs/paper.md against the configurations: its values are theirs, and every setting they make is on it."""

import json

import pytest
import yaml

from benchmarks import deviations
from benchmarks.deviations import CONFIGS, PAGE, cells, renewed, setting_of, values_of, written
from study.config import load_config
from study.outlook import edits_of

GROUPS = ("model", "sampling", "sites", "prompts", "sae", "labels", "layout", "interventions")
ROWS = [row for row in map(cells, PAGE.read_text().splitlines()) if len(row) == 5 and row[0] not in ("setting", "---")]


def value(cell):
    """What a cell in code type says; a cell of words is none of a setting's values."""
    inner = cell.strip("`")
    try:
        return json.loads(inner) if cell.startswith("`") else None if cell == "none" else cell
    except json.JSONDecodeError:
        return inner


def test_the_values_on_the_page_are_those_of_the_configurations():
    """Read from the page and compared with what the YAML files give, apart from the code that writes them."""
    configs = {name: load_config(path).model_dump(mode="json") for name, path in CONFIGS.items()}
    compared = 0
    for row in ROWS:
        if (setting := setting_of(row)) is None:
            continue
        for cell, config in zip(row[2:4], CONFIGS, strict=True):
            node = configs[config]
            for part in setting.split("."):
                node = node[part]
            found = value(cell)
            assert found == node or (isinstance(found, str) and str(node).endswith(f"/{found}")), (setting, config)
            compared += 1
    assert compared > 100


@pytest.mark.parametrize("config", CONFIGS)
def test_every_setting_that_a_configuration_makes_is_on_the_page(config):
    listed = [setting for row in ROWS if (setting := setting_of(row))]
    raw = yaml.safe_load(CONFIGS[config].read_text())
    made = {f"{group}.{name}" for group in GROUPS for name in raw.get(group, {})}
    assert len(listed) == len(set(listed)) and made - set(listed) == set() and len(made) > 20


def test_whatever_differs_from_the_paper_or_is_not_stated_there_has_its_reason():
    for setting, paper, mini, sd14, why in ROWS:
        alike = value(paper) == value(mini) == value(sd14)
        assert alike or why, f"{setting}: say why ours differ"
        assert not (alike and why) or setting == "`labels.hit_iou`", f"{setting} does not differ"


def test_there_is_one_table_and_what_it_counts_is_so():
    assert sum(line.startswith("| ---") for line in PAGE.read_text().splitlines()) == 1
    assert "42,000 edited images" in PAGE.read_text() and edits_of(load_config(CONFIGS["sd14"])) == 42_000


def test_a_value_that_has_changed_is_renewed_and_nothing_else(tmp_path, monkeypatch, capsys):
    whole = PAGE.read_text()
    assert renewed(whole) == whole
    changed = whole.replace("`4096` | `512` | `4096`", "`4096` | `99` | `4096`")
    assert changed != whole and renewed(changed) == whole
    page = tmp_path / "paper.md"
    page.write_text(changed)
    monkeypatch.setattr(deviations, "PAGE", page)
    assert deviations.main(["--check"]) == 1 and page.read_text() == changed
    assert deviations.main([]) == 0 and page.read_text() == whole and deviations.main(["--check"]) == 0
    assert "other values" in capsys.readouterr().out


def test_how_values_are_written():
    assert [written(v) for v in (None, "mid", True, [1, 2.5], {"a": 1})] == [
        *("none", "`mid`", "`true`", "`[1, 2.5]`", '`{"a": 1}`')
    ]
    assert values_of("sd14")["labels.word2vec_path"] == "word2vec.txt" and values_of("mini")["sae.k"] == [10]
    with pytest.raises(KeyError, match=r"sae\.none"):
        renewed("| `sae.none` | a | b | c | d |")
