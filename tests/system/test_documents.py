"""Every code block and notebook of the documentation runs, or the comment above a block says why it does not."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from storage.query import query
from tests import glossary
from tests.paths import ROOT
from tests.system import forked

FENCE = re.compile(r"(<!-- not run by the tests: [^\n]+ -->\n)?```(\w+)\n(.*?)```", re.S)
NOT_OURS = {".venv", ".venv-lowest", "node_modules", "runs"}
PAGES = sorted(p for p in ROOT.rglob("*.md") if not NOT_OURS & set(p.relative_to(ROOT).parts))
NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))
pytestmark = pytest.mark.system
BLOCKS = [
    pytest.param(language, code, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, (excuse, language, code) in enumerate(FENCE.findall(page.read_text()))
    if language != "text" and not excuse
]
LANGUAGES = {"bash", "sql", "python", "text"}
FILES = {"yaml", "nginx"}  # of other programs: where a block says why it is not run


def test_every_block_is_in_a_language_that_is_run():
    found = [fence for page in PAGES for fence in FENCE.findall(page.read_text())]
    assert {language for _, language, _ in found} <= LANGUAGES | FILES
    assert [code for excuse, language, code in found if language in FILES and not excuse] == []
    assert all(yaml.safe_load(code) for _, language, code in found if language == "yaml")


@pytest.fixture(scope="module")
def study(tiny_study, tmp_path_factory):
    """A copy, since some of what is shown writes, and tests in other processes read the one of all."""
    return shutil.copytree(tiny_study, tmp_path_factory.mktemp("documents") / "tiny")


@pytest.fixture(scope="module")
def variables(forks, served):
    """Those of a shell whose ``concepts`` and ``python`` are forked processes."""
    with forked.commands_of_shells(forks) as folder:
        path = [str(folder), str(Path(sys.executable).parent), os.environ["PATH"]]
        yield {**served, "PATH": os.pathsep.join(path)}


@pytest.mark.parametrize(("language", "code"), BLOCKS)
def test_block_runs(language, code, study, variables, forks):
    if language == "sql":
        query(study, code)
    elif language == "python":
        script = code.replace("runs/mini", str(study))
        done = forked.run(forks, ("-c", script), 400, "python")
        assert done.returncode == 0, done.stderr
    else:
        command = code.replace("runs/mini", str(study)).replace("configs/mini", "configs/tiny")
        done = subprocess.run(["bash", "-euc", command], cwd=ROOT, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_what_it_shows_was_run(path, study, monkeypatch):
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))  # from top to bottom, once
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert not re.search(r"(/home|/root|/tmp|/work|/Users)/", path.read_text(encoding="utf-8"))
    for cell in cells:
        cell.source = cell.source.replace("../runs/mini", str(study))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(path.parent))
    shown = [output for output in cells[-1].outputs if "image/png" in output.get("data", {})]
    assert shown, "the last cell draws a picture"


def test_every_word_that_a_study_writes_is_in_the_glossary(study):
    written = glossary.words_in(study)
    assert {"dictionary", "shuffled_positions", "random_direction"} <= written <= glossary.defined()


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
