"""A study that is copied while it grows, records first, and put back elsewhere, goes on to the same end."""

import shutil

import pytest

from flows.cli import main
from storage.inspect import table_hashes
from storage.records import forget_record, records
from tests.paths import ROOT

pytestmark = pytest.mark.system
TINY = str(ROOT / "configs" / "tiny.yaml")


def test_a_restored_study_goes_on(tiny_study, copy, launch, tmp_path, capsys):
    """Its last units and runs were finished between the copying of the records and of the files.

    No record of theirs is in the copy, though rows of ``runs`` are: that is told, and repaired.
    """
    later = [("draw", "all"), ("effects", "all")]
    later += [("runs", unit) for unit in records(copy, "runs") if unit.startswith(("intervene-", "figures-"))]
    for stage, unit in later:
        forget_record(copy, stage, unit)
    assert len(later) == 4
    restored = tmp_path / "elsewhere" / "restored"
    shutil.copytree(copy / "done", restored / "done")
    for name in ("study.yaml", "tables", "figures", "saes", "activations.zarr"):
        (shutil.copytree if (copy / name).is_dir() else shutil.copy)(copy / name, restored / name)
    shutil.rmtree(copy)
    assert main(["verify", str(restored)]) == 1
    named = [line for line in capsys.readouterr().out.splitlines() if "is missing" in line]
    assert len(named) == 2 and all("[unit runs/" in line for line in named)
    assert main(["repair", str(restored)]) == 0
    done = launch("run", TINY, "--root", str(restored))
    assert done.returncode == 0, done.stderr
    assert "collect: units 8, made now 0" in done.stdout
    assert main(["verify", str(restored)]) == 0
    assert table_hashes(restored) == table_hashes(tiny_study)
