"""The leaderboard: sites chosen by the images that chose detectors, figures of the others, controls by intervals."""

import pyarrow as pa
import pytest

from benchmarks import leaderboard
from benchmarks.leaderboard import Row, rows_of, verdict
from storage.records import read_record
from storage.schemas import SCHEMAS
from storage.site import Site
from tests.parts import add_part, open_study, rewrite_record

SITE = Site("mid", 0.5, "cond")


def row(method, f1, low, high):
    return Row(method, "object", SITE, 0.9, 0.8, f1, low, high, None, None, None)


def filled(table, **known):
    """A row with every column that a table has: what is not given is 0, empty or null."""
    empty = {"int": 0, "dou": 0.0, "str": "", "boo": False, "lis": []}
    return {f.name: None if f.nullable else empty[str(f.type)[:3]] for f in SCHEMAS[table]} | known


def benched(**known):
    mean = {"scope": "image", "label": "*", "kind": "object", "method": "trained", "k": 10, "f1_ci_high": 1.0}
    return filled("bench", **SITE.columns, **mean) | known


def trained(**known):
    return filled("sae_metrics", **SITE.columns, k=10, kind="trained", expansion=4, stability=None) | known


@pytest.fixture
def study(tmp_path):
    root = tmp_path / "study"
    open_study(root, {"name": "x"}, {})
    rows = [
        benched(f1=0.9, f1_chosen=0.91, precision=0.8, recall=0.7),
        benched(f1=0.99, f1_chosen=0.85, block="up"),  # best where nobody chose by it
        benched(f1=0.95, f1_chosen=0.95, method="probe"),
        benched(f1=0.2, f1_chosen=0.2, method="frozen"),
        benched(f1=1.0, f1_chosen=1.0, label="tree"),  # a label, not a mean
        benched(f1=1.0, f1_chosen=1.0, scope="cell"),
        benched(f1=1.0, f1_chosen=1.0, kind="*"),
    ]
    add_part(root, "bench", "a", rows)
    first = trained(init_cosine=0.3, seed=0)
    metrics = [
        *(first, trained(init_cosine=0.4, seed=1, stability=0.6), trained(kind="frozen", init_cosine=1.0)),
        trained(init_cosine=0.9, stability=0.1, block="up"),
    ]
    add_part(root, "sae_metrics", "mid/0.50/cond/k10", metrics)
    rewrite_record(root, "train", "mid/0.50/cond/k10", seconds_each=2.5)
    return root


def test_each_method_is_shown_where_the_other_images_chose_it(study):
    rows = rows_of(study)
    assert [(r.method, r.f1) for r in rows] == [("probe", 0.95), ("trained", 0.9), ("frozen", 0.2)]
    assert read_record(study, "train", "mid/0.50/cond/k10")["seconds_each"] == 2.5
    by_method = {r.method: r for r in rows}
    assert by_method["trained"].site == SITE and by_method["trained"].cells() == [
        *("`trained`", "mid 0.5", "0.80", "0.70", "0.900 (0.000 to 1.000)", "0.60", "0.30", "2.5")
    ]
    assert by_method["frozen"].cells()[-3:] == ["", "1.00", "2.5"]
    assert by_method["probe"].cells()[-3:] == ["", "", ""]


def test_a_control_is_below_level_or_above_by_its_interval():
    trained = row("trained", 0.9, 0.88, 0.92)
    apart = [row("frozen", 0.8, 0.78, 0.879), row("neurons", 0.87, 0.85, 0.88), row("pca", 0.95, 0.921, 0.97)]
    assert verdict([trained, *apart]) == (
        "`trained` is above `frozen`, intervals apart; not apart from `neurons`; **below** `pca`."
    )
    assert verdict([trained, row("untrained", 0.1, 0.0, 0.2), row("frozen", 0.1, 0.0, 0.2)]) == (
        "`trained` is above `frozen` and `untrained`, intervals apart."
    )
    assert verdict([trained, row("probe", 0.99, 0.98, 1.0), row("pca", 0.9, 0.87, 0.93)]) == (
        "`trained` is not apart from `pca`."
    )


def test_the_page_is_renewed_and_seconds_alone_make_no_difference(study, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(leaderboard, "KINDS", ("object",))
    page = tmp_path / "docs" / "bench.md"
    page.parent.mkdir()
    monkeypatch.setattr(leaderboard, "REPO", tmp_path)
    monkeypatch.setattr(leaderboard, "PAGE", page)
    page.write_text(f"before\n<!-- {leaderboard.MARK} -->\nold\n<!-- end -->\nafter\n")
    assert leaderboard.main([str(study), "--check"]) == 1 and "old" in page.read_text()
    assert leaderboard.main([str(study)]) == 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("<!-- end -->\nafter\n") and "old" not in text
    assert "| `trained` | mid 0.5 | 0.80 | 0.70 |" in text
    rewrite_record(study, "train", "mid/0.50/cond/k10", seconds_each=9.9)
    assert leaderboard.main([str(study), "--check"]) == 0
    page.write_text(text.replace("0.900 (", "0.901 ("))
    assert leaderboard.main([str(study), "--check"]) == 1
    assert leaderboard.main([str(study), "--print"]) == 0 and "**objects**" in capsys.readouterr().out


def test_filled_rows_are_of_the_tables_schema():
    assert pa.Table.from_pylist([benched()], schema=SCHEMAS["bench"]).num_rows == 1
