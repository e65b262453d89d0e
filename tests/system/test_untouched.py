"""Commands that only look change nothing, whole study or damaged; no command gives up shards that metadata hide."""

import shutil

import pytest

from flows.cli import main

pytestmark = pytest.mark.system

STUDY = ["configs/tiny.yaml", "--root", "{root}"]
LOOKING = {
    "status": ["status", "{root}"],
    "verify": ["verify", "{root}", "--hashes"],
    "query": ["query", "{root}", "select count(*) from images"],
    "revise": ["revise", *STUDY, "--set", "layout.bootstrap=200", "--dry-run"],
}


def everything(root):
    """Times and bytes of all that lies in a folder, the folders too."""
    paths = sorted(root.rglob("*"))
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else None) for p in [root, *paths]}


def started(arguments, root):
    return main([part.format(root=root) for part in arguments])


@pytest.mark.parametrize("command", LOOKING)
def test_a_command_that_looks_changes_nothing(copy, capsys, command):
    before = everything(copy)
    assert started(LOOKING[command], copy) == 0, capsys.readouterr().err
    assert everything(copy) == before


@pytest.mark.parametrize("lost", ["zarr.json", "mid/1.00/cond/zarr.json", ""])
@pytest.mark.parametrize("command", [["run", *STUDY], ["collect", *STUDY], *LOOKING.values()], ids=lambda c: c[0])
def test_a_store_without_metadata_or_gone_is_left_as_it_is(copy, capsys, command, lost):
    if lost:
        (copy / "activations.zarr" / lost).unlink()
    else:
        shutil.rmtree(copy / "activations.zarr")
    before = everything(copy)
    code = started(command, copy)
    assert everything(copy) == before
    if command[0] in ("run", "collect"):
        said = capsys.readouterr().err
        assert code == 2 and "run `concepts repair`" in said and "Traceback" not in said
