"""Commands besides the stages: cards of concepts, calibrated thresholds."""

import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest

from storage.images import decode_png
from storage.query import query
from tests.paths import ROOT
from tests.vision.tiny_models import build_tiny_vision
from vision.clip import Scorer
from vision.settings import TransformersSettings
from vision.vocabulary import read_vocabulary

pytestmark = pytest.mark.system


def test_card_draws_pages_from_the_tables_alone(tiny_study, launch, tmp_path):
    """The folder is copied without activations and SAEs: a page needs neither, only the tables and their records."""
    root = tmp_path / "tables_only"
    root.mkdir()
    (root / "study.yaml").write_bytes((tiny_study / "study.yaml").read_bytes())
    (root / "tables").symlink_to(tiny_study / "tables")
    shutil.copytree(tiny_study / "done", root / "done")  # a page gets a record of its own
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
        (["mid/0.00/cond", "99999999999999999999999"], "has no concept 99999999999999999999999: name one from 0 to"),
        (["mid/0.00/cond", "-1"], "has no concept -1: name one from 0 to"),
        (["mid/0.00/cond", "tree"], "invalid int value: 'tree'"),
        (["3"], "has no site '3': it has mid/1.00/cond"),
        (["\x1b[2J/0.00/cond", "3"], r"has no site '\x1b[2J/0.00/cond'"),
        (["mid/0.00/cond", "3", "--k", "99999999999999999999999"], "SAEs of k = 4: name one with --k"),
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


@pytest.mark.slow
def test_thresholds_of_a_real_tagger_are_the_best_cuts(launch, tmp_path):
    """CLIP's own scores of the study's images, asked for again, give each label's cut by trying every one."""
    paths, root = build_tiny_vision(tmp_path / "models"), tmp_path / "study"
    words = ["tree", "house", "cloud", "ball", "night"]  # with what the study's edits aim at
    group = {**{f: paths[f] for f in ("detector", "segmenter", "clip")}, "tagger": "zero-shot"}
    group |= {"judge_clip": paths["clip"], "judge_clipseg": paths["clipseg"]}
    settings = [f"vision.transformers={json.dumps(group)}", "vision.backend=transformers", f"vision.vocabulary={words}"]
    settings += ["vision.mini=null", "sampling.steps=2"]
    flags = ["configs/tiny.yaml", "--root", str(root), *(part for s in settings for part in ("--set", s))]
    assert launch("collect", *flags).returncode == 0
    out = tmp_path / "words.tsv"
    done = launch("thresholds", *flags, "--out", str(out), "--min-positives", "3")
    assert done.returncode == 0, done.stderr
    found = read_vocabulary(out)
    assert list(found.labels) == words and any(found.thresholds)
    again = launch("thresholds", *flags, "--out", str(out))
    assert again.returncode == 2 and "exists: name another file" in again.stderr

    prompts = query(root, "select caption, image from prompts join images using (prompt_id) where split = 'dictionary'")
    scorer = Scorer(TransformersSettings(**group), "clip")
    images = [decode_png(data) for data in prompts["image"].to_pylist()]
    scores = scorer.probabilities(images, tuple(words))
    for number, (word, threshold) in enumerate(zip(words, found.thresholds, strict=True)):
        present = np.array(
            [re.search(rf"\b{word}s?\b", caption) is not None for caption in prompts["caption"].to_pylist()]
        )
        assert (threshold is None) == (present.sum() < 3)
        if threshold is not None:
            f1 = [
                2 * ((scores[:, number] >= t) & present).sum() / ((scores[:, number] >= t).sum() + present.sum())
                for t in scores[:, number]
            ]
            mine = scores[:, number] >= np.float32(threshold)
            assert 2 * (mine & present).sum() / (mine.sum() + present.sum()) == pytest.approx(max(f1))


def test_an_answer_that_cannot_be_written_or_shown_is_one_sentence(tiny_study, launch):
    sql = "select prompt_id, caption from prompts"
    for target in ("/dev/full", "| head -1"):
        redirect = target if target.startswith("|") else f"> {target}"
        command = f"{shlex.join([sys.executable, '-m', 'flows.cli', 'query', str(tiny_study), sql])} {redirect}"
        done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], cwd=ROOT, capture_output=True, text=True)
        assert "Traceback" not in done.stderr and "Exception" not in done.stderr
        if target == "/dev/full":
            assert done.returncode == 2 and "disk full" in done.stderr


def test_a_terminal_is_sent_no_parquet_and_no_escapes(tiny_study):
    """Under a pseudo-terminal of its own."""
    sql = "select chr(27) || '[2J' as a"
    for form, says in (("parquet", b"send them to a file"), ("csv", rb"\x1b[2J"), ("table", rb"\x1b[2J")):
        command = [sys.executable, "-m", "flows.cli", "query", str(tiny_study), sql, "--format", form]
        outer, inner = pty.openpty()
        process = subprocess.Popen(command, cwd=ROOT, stdout=inner, stderr=inner)
        process.wait(timeout=60)
        os.close(inner)
        shown = os.read(outer, 100_000)
        os.close(outer)
        assert says in shown and b"\x1b" not in shown and process.returncode == (2 if form == "parquet" else 0)
