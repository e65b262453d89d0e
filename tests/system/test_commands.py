"""Commands beside the stages: pages of concepts, calibrated thresholds."""

import re

import pytest

from storage.query import query

pytestmark = pytest.mark.system


def test_card_draws_pages_from_the_tables_alone(tiny_study, launch, tmp_path):
    """The folder is copied without activations and SAEs: a page needs neither."""
    root = tmp_path / "tables_only"
    root.mkdir()
    (root / "study.yaml").write_bytes((tiny_study / "study.yaml").read_bytes())
    (root / "tables").symlink_to(tiny_study / "tables")
    done = launch("card", str(root))
    assert done.returncode == 0, done.stderr
    pages = done.stdout.split()
    assert len(pages) == 10 and all(page.endswith(".png") for page in pages)
    cid = query(tiny_study, "select max(cid) as cid from concepts where alive and block = 'mid' and t = 0").to_pylist()
    one = launch("card", str(root), "mid/0.00/cond", str(cid[0]["cid"]))
    assert one.stdout.strip().endswith(f"mid-0.00-cond-k4-cid{cid[0]['cid']}.png"), one.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mid/0.50/cond", "3"], "has no site 'mid/0.50/cond': it has mid/1.00/cond"),
        (["mid/0.00/cond", "100000"], "has no concept 100000: name one from 0 to"),
        (["mid/0.00/cond"], "name a concept's number too"),
        (["mid/0.00/cond", "3", "--k", "7"], "SAEs of k = 4: name one with --k"),
    ],
)
def test_a_page_of_what_is_not_there_is_one_sentence(tiny_study, launch, arguments, says):
    done = launch("card", str(tiny_study), *arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.search(re.escape(says), done.stderr)


def test_thresholds_need_a_tagger_with_scores(tiny_study, launch, tmp_path):
    flags = ("--root", str(tiny_study), "--out", str(tmp_path / "words.tsv"))
    done = launch("thresholds", "configs/tiny.yaml", *flags)
    assert done.returncode == 2 and "vision.transformers.tagger to zero-shot" in done.stderr
    assert not (tmp_path / "words.tsv").exists()
