"""``concepts edit``: without a server or a flow, since it writes nothing into the study and no row of ``runs``."""

from __future__ import annotations

import argparse
import sys

from storage.text import printable
from study.opening import study_with_models
from tasks.edit_request import request_of

ASKED = ("prompt", "concept", "window", "strength", "region", "feather", "block", "operation", "instead_of", "half")


def edit(options: argparse.Namespace) -> int:
    """Make the edit that a command's options ask for, and say what came of it; cautions go to stderr."""
    given = {name: getattr(options, name) for name in (*ASKED, "seed")}
    request = request_of(**given, judge=not options.no_judge)  # a mistake is told before the heavy imports
    study = study_with_models(options.dir, options.set)
    from tasks.edit_files import edit_into
    from tasks.edit_words import told

    made, files = edit_into(study, request, options.out)
    for caution in made.row["cautions"]:
        print(f"concepts: {printable(caution)}", file=sys.stderr)
    for line in (*told(made.row), *map(str, files)):
        print(printable(line))
    return 0
