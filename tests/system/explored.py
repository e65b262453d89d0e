"""The explorer over a study, served and exported, as a user starts them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.paths import ROOT
from tests.system.conftest import concepts, environment


@contextmanager
def served(study: Path, home: Path) -> Iterator[str]:
    """The address of the explorer, which ends with the context as by Ctrl-C. ``home``: a folder for Prefect."""
    command = concepts("explore", str(study), "--port", "0")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=environment(home), text=True, **pipes) as server:
        yield re.search(r"(http://127\.0\.0\.1:\d+)/ \(Ctrl-C ends it\)", server.stdout.readline())[1]
        server.terminate()
        assert server.wait(30) == 143 and server.stderr.read() == "interrupted\n"


def exported(study: Path, out: Path, *options: str) -> tuple[Path, str]:
    """The site's folder, and what the command says."""
    command = concepts("export-site", str(study), str(out), *options)
    return out, subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
