"""A disk that is full in the middle of sampling, and has room again: a real file system in memory, a small one."""

import json
import shutil
import subprocess
import sys

import pytest

from storage.records import records
from tests.paths import ROOT
from tests.system.faults.conftest import assert_undisturbed, collecting, figures

pytestmark = [pytest.mark.system, pytest.mark.faults, pytest.mark.timeout(600)]
# A file system of one's own needs no privileges where users may have a namespace of their own.
ALONE = ["unshare", "--user", "--map-root-user", "--mount"]
INSIDE = """
import json, os, shutil, subprocess, sys
given = json.loads(sys.argv[1])
def mount(options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", given["disk"]], check=True)
def collect():
    done = subprocess.run(given["command"], capture_output=True, text=True)
    shards = os.listdir(given["done"]) if os.path.isdir(given["done"]) else []
    return {"code": done.returncode, "said": done.stderr, "shards": sorted(s for s in shards if s.endswith(".json"))}
mount(f"size={given['size']}")
shutil.copytree(given["study"], given["root"])
full = collect()
mount("remount,size=500m")
freed = collect()
shutil.copytree(given["root"], given["out"])
print(json.dumps([full, freed]))
"""


@pytest.fixture(scope="module", autouse=True)
def _namespaces(tmp_path_factory):
    at = tmp_path_factory.mktemp("disk")
    tried = subprocess.run([*ALONE, "mount", "-t", "tmpfs", "none", str(at)], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no file system of one's own ({tried.stderr.strip()}): run as root, or allow user namespaces")


def test_a_full_disk_is_one_sentence_and_with_room_it_goes_on(uncollected, small_study, served, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    root, out = disk / "study", tmp_path / "out"
    store = _kilobytes(small_study / "activations.zarr")
    given = {
        "disk": str(disk),
        "size": f"{_kilobytes(uncollected) + store // 2}k",  # room for about half of the shards
        "study": str(uncollected),
        "root": str(root),
        "done": str(root / "done" / "collect"),
        "out": str(out),
        "command": collecting(root),
    }
    command = [*ALONE, sys.executable, "-c", INSIDE, json.dumps(given)]
    done = subprocess.run(command, cwd=ROOT, env=served, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    full, freed = json.loads(done.stdout)
    assert full["code"] == 2 and "disk full while writing" in full["said"], full["said"]
    assert "what was finished is kept" in full["said"] and 0 < len(full["shards"]) < 5, full
    assert freed["code"] == 0 and set(full["shards"]) < set(freed["shards"]), freed["said"]
    figures.append(
        f"disk full and freed: {len(full['shards'])} of 5 units were kept, the others done by the same command"
    )
    assert records(out, "collect") == records(small_study, "collect")
    shutil.rmtree(uncollected)
    assert_undisturbed(out, small_study)


def _kilobytes(folder) -> int:
    """As a file system of pages of 4 kB takes them, folders too."""
    return sum(4 * -(-path.stat().st_size // 4096) for path in folder.rglob("*"))
