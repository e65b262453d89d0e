"""Where a study's numbers come from: versions, commit, machine, and the digests of the files that settings name."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from study.hashes import stage_versions
from study.identity import CONTENTS
from study.threads import THREADS, cpu_capability

PACKAGES = ("concept-atlas", "torch", "diffusers", "transformers", "prefect", "zarr", "pyarrow", "numpy")


def provenance_of(contents: dict[str, str], threads: int | None) -> dict[str, Any]:
    """What ``study.yaml`` says besides the settings: versions, commit, and digests of the files that settings name.

    And the machine's part in the last bits of results: its instructions and the ``threads`` of an operation.
    """
    return {
        "stages": stage_versions(),
        "versions": versions(),
        "git_sha": git_sha(),
        "cpu_capability": cpu_capability(),
        THREADS: threads,
        CONTENTS: contents,
    }


def versions() -> dict[str, str]:
    """Installed versions of the packages that can change a number, and Python's own."""
    version_of = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            version_of[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            version_of[name] = "not installed as a package"
    return version_of


@functools.cache
def git_sha() -> str | None:
    """Commit of the source tree the code runs from, or None where it is not known.

    Where there is no checkout, as in the image, CONCEPT_ATLAS_GIT_SHA says what it was built of.
    """
    command = ["git", "-C", str(Path(__file__).resolve().parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("CONCEPT_ATLAS_GIT_SHA") or None
