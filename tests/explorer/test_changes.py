"""When a tree of folders last changed: what comes or goes is seen, also within one tick of the file system."""

import os
import time

from concept_atlas.changes import SETTLED_NS, Changes


def at(folder, ns):
    os.utime(folder, ns=(ns, ns))


def test_a_folder_deep_below_is_seen_to_come_change_and_go(tmp_path):
    changes = Changes(tmp_path)
    deep = tmp_path / "label" / "mid" / "1.00"
    deep.mkdir(parents=True)
    there = changes.times()
    assert len(there) == 4 and changes.times() == there
    (deep / "record.json").write_text("{}")
    at(deep, time.time_ns() + 10**9)
    written = changes.times()
    assert written != there and written[:3] == there[:3]
    (deep / "record.json").unlink()
    deep.rmdir()
    assert len(changes.times()) == 3
    assert Changes(tmp_path / "nowhere").times() == ()


def test_a_folder_that_comes_in_the_tick_of_the_last_change_is_seen(tmp_path):
    changes, tick = Changes(tmp_path), time.time_ns()
    at(tmp_path, tick)
    assert len(changes.times()) == 1
    (tmp_path / "late").mkdir()
    at(tmp_path, tick)  # as a file system with coarse times has it
    assert len(changes.times()) == 2


def test_what_has_settled_is_listed_once(tmp_path, monkeypatch):
    (tmp_path / "label").mkdir()
    long_ago = time.time_ns() - 2 * SETTLED_NS
    for folder in (tmp_path / "label", tmp_path):
        at(folder, long_ago)
    changes, listed, scandir = Changes(tmp_path), [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    assert changes.times() == changes.times() == (long_ago, long_ago)
    assert listed == [str(tmp_path), str(tmp_path / "label")]
