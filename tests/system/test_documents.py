"""Every code block of the documentation runs, or the comment above it says why it does not."""

import os
import re
import subprocess
import sys

import pytest

from storage.query import query
from tests.paths import ROOT

FENCE = re.compile(r"(<!-- not run by the tests: [^\n]+ -->\n)?```(\w+)\n(.*?)```", re.S)
PAGES = sorted(p for p in ROOT.rglob("*.md") if not {".venv", ".venv-lowest", "runs"} & set(p.relative_to(ROOT).parts))
pytestmark = pytest.mark.system
BLOCKS = [
    pytest.param(language, code, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, (excuse, language, code) in enumerate(FENCE.findall(page.read_text()))
    if language != "text" and not excuse
]
LANGUAGES = {"bash", "sql", "python", "text"}


def test_every_block_is_in_a_language_that_is_run():
    languages = {language for page in PAGES for _, language, _ in FENCE.findall(page.read_text())}
    assert languages <= LANGUAGES


@pytest.mark.parametrize(("language", "code"), BLOCKS)
def test_block_runs(language, code, tiny_study):
    if language == "sql":
        query(tiny_study, code)
    elif language == "python":
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    else:
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        command = code.replace("runs/mini", str(tiny_study)).replace("configs/mini", "configs/tiny")
        done = subprocess.run(
            ["bash", "-euc", command], cwd=ROOT, env=os.environ | {"PATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
