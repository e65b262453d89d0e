"""``concepts edit``: without a server or a flow, since it writes nothing into the study and no row of ``runs``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from storage.text import printable
from study.errors import StudyError
from study.imports import import_kept
from study.opening import study_with_models
from study.settings_file import read_settings
from tasks.edit_request import EditPart, EditRequest, request_of

OF_PART = tuple(EditPart.model_fields)
OF_IMAGE = ("prompt", "seed", "controls")


def edit(options: argparse.Namespace) -> int:
    """Make the edit that a command's options ask for, and say what came of it; cautions go to stderr."""
    request = requested(options)  # a mistake is told before the heavy imports
    study = study_with_models(options.dir, options.set)
    import_kept("tasks.edit_files")
    from tasks.edit_files import edit_into
    from tasks.edit_words import told

    made, files = edit_into(study, request, options.out)
    for caution in made.row["cautions"]:
        print(f"concepts: {printable(caution)}", file=sys.stderr)
    for line in (*told(made.row), *map(str, files)):
        print(printable(line))
    return 0


def requested(options: argparse.Namespace) -> EditRequest:
    """What the options ask for, or a plan's file, whose prompt, seed, controls and judge they take the place of.

    Raises ``StudyError``.
    """
    given: dict[str, Any] = {name: getattr(options, name) for name in (*OF_IMAGE, *OF_PART)}
    given = {name: value for name, value in given.items() if value not in (None, [])}
    if options.no_judge:
        given["judge"] = False
    if options.plan is None:
        return request_of(**given)
    if own := [name for name in OF_PART if name in given]:
        raise StudyError(
            f"--{own[0].replace('_', '-')} stands beside --plan, whose parts have their own: put it into {options.plan}"
        )
    settings = read_settings(Path(options.plan), what="plan", such_as="plan.yaml")
    return request_of(options.plan, **{**settings, **given})
