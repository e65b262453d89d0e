"""Scratch files of killed writers are removed by the next writer, and by no one else."""

import os
import subprocess
import sys

import numpy as np

from storage.activations import ActivationStore
from storage.atomic import sweep
from storage.lock import writing
from study.verify import inspect_study
from tests.parts import add_part, open_study

TAG = {"prompt_id": 1, "label": "tree", "score": 0.5, "tagger": "mini"}
SITE = ("mid", 0.5, "cond")
KILLED = """
import os, signal, sys
from pathlib import Path
from storage import atomic
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
atomic.write_atomic(Path(sys.argv[1]), b"never whole")
"""


def killed_while_writing(path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)])
    assert done.returncode == -9 and len([p for p in path.parent.iterdir() if p.name.endswith(".tmp")]) == 1


def test_the_next_writer_removes_what_a_killed_one_left_and_a_reader_does_not(tmp_path):
    open_study(tmp_path, {"name": "x"}, {})
    add_part(tmp_path, "tags", "000000", [TAG])
    left = [tmp_path / "tables" / "tags" / "000001.parquet", tmp_path / "done" / "tag" / "000001.json",
            tmp_path / "saes" / "mid" / "cfg.json", tmp_path / "figures" / "a.png"]  # fmt: skip
    for path in left:
        killed_while_writing(path)
    kept = [f"tables/tags/.000002.parquet.{os.getpid()}.tmp", "tables/tags/.notes.tmp", "tables/tags/theirs.7.tmp"]
    for name in kept:
        (tmp_path / name).write_text("of a process that runs, or of no process of ours")
    inspect_study(tmp_path)
    assert all(len(list(path.parent.glob(".*.tmp"))) >= 1 for path in left)
    with writing(tmp_path, "test"):
        assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.tmp")) == sorted(kept)


def test_a_shard_written_again_clears_its_own_folder(tmp_path):
    store = ActivationStore.create(tmp_path, {SITE: (2, 2, 3)}, 4, 2)
    killed_while_writing(store.shard_file(SITE, 0))
    store.write_shard(SITE, 0, np.ones((2, 2, 2, 3), np.float16))
    assert [p.name for p in store.shard_file(SITE, 0).parent.iterdir()] == ["0"]


def test_scratch_files_of_earlier_versions_are_swept_too(tmp_path):
    for name in (".cfg.json.tmp", ".step-12.safetensors.tmp", ".a.txt.tmp"):
        (tmp_path / name).write_text("half")
    sweep([tmp_path])
    assert [p.name for p in tmp_path.iterdir()] == [".a.txt.tmp"]
