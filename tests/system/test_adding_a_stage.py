"""docs/adding_a_stage.md is followed to the letter in a copy of the project: the stage is run, shown and checked."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.system import forked

pytestmark = [pytest.mark.system, pytest.mark.slow]
ROOMS = ("concepts", "diffusion", "figures", "flows", "sae", "storage", "study", "tasks", "vision")


def blocks() -> dict[str, str]:
    """File -> the code that the page puts into it."""
    page = (ROOT / "docs" / "adding_a_stage.md").read_text()
    found = re.findall(r"```python\n# (\S+?)(?:, [^\n]*)?\n(.*?)```", page, re.S)
    return dict(found)


def put_before(path: Path, line: str, code: str) -> None:
    """The last occurrence of a line has the code before it afterwards."""
    before, found, after = path.read_text().rpartition(line)
    assert found, (path, line)
    path.write_text(before + code + found + after)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The rooms, with what the page adds; the weights and configurations are the project's own."""
    project = tmp_path_factory.mktemp("project")
    for room in ROOMS:
        shutil.copytree(ROOT / room, project / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("configs", "miniature"):
        (project / name).symlink_to(ROOT / name)
    code = blocks()
    assert list(code) == ["storage/declared_images.py", "study/stages.py", "tasks/sizes.py"]
    put_before(project / "storage/declared_images.py", ")\n", code["storage/declared_images.py"])
    put_before(project / "study/stages.py", '    Stage(\n        "label",\n', code["study/stages.py"])
    (project / "tasks/sizes.py").write_text(code["tasks/sizes.py"])
    return project


COMMAND = """
import os, sys
os.chdir({project!r})
sys.path.insert(0, {project!r})
from flows.cli import main
assert sys.modules["study.stages"].__file__.startswith({project!r}), sys.modules["study.stages"]
sys.exit(main())
"""


@pytest.fixture(scope="module")
def concepts(project, forks):
    """Runs the command line of the copy."""

    def run(*arguments: str, code: int = 0) -> str:
        done = forked.run(forks, ("-c", COMMAND.format(project=str(project)), *arguments), 400, "python")
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def told(tiny_study, concepts, tmp_path_factory) -> dict[str, str]:
    """A finished study that gets the stage: its folder, and what was said before and while it did."""
    root = str(shutil.copytree(tiny_study, tmp_path_factory.mktemp("added") / "study"))
    before = concepts("status", root)
    return {"root": root, "before": before, "label": concepts("label", "configs/tiny.yaml", "--root", root)}


def test_a_stage_is_added_by_three_files_and_everything_else_follows(told, concepts):
    root = told["root"]
    assert re.search(r"sizes +0 / 4 +4 missing", told["before"])
    assert "made now: 4\n" in told["label"]
    assert re.search(r"sizes +4 / 4 +done", concepts("status", root))
    assert "whole" in concepts("verify", root)
    wrong = "select count(*) from label_sizes where share not between 0 and 1"
    sky = (
        "select count(*) from label_sizes s join label_cells c using (prompt_id, label) "
        "where c.area_px = round(s.share * (select first(width * height) from images))"
    )
    everything = "select count(*) from label_cells"
    counts = concepts("query", root, f"select ({wrong}), ({sky}), ({everything})", "--format", "csv").split()[-1]
    wrong, sky, everything = counts.split(",")
    assert wrong == "0" and sky == everything != "0"


def test_what_the_stage_follows_from_undoes_it(told, concepts, tmp_path):
    root = shutil.copytree(told["root"], tmp_path / "study")
    given = ("configs/tiny.yaml", "--root", str(root), "--dry-run", "--set", "vision.mini.min_score=0.9")
    assert re.search(r"sizes +4 of 4 units to be redone", concepts("revise", *given))
    (root / "tables" / "label_sizes" / "000002.parquet").unlink()
    assert "label_sizes/000002.parquet is missing [unit sizes/000002]" in concepts("verify", str(root), code=1)
    concepts("repair", str(root))
    assert "made now: 1\n" in concepts("label", "configs/tiny.yaml", "--root", str(root))
