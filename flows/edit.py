"""One edit of a finished study as a flow, whose form in Prefect's UI asks for what `concepts edit` takes.

It writes nothing into the study and adds no row to ``runs``: several may be at work at once, and beside a run.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.common import cancelled_if_ended, flow_run_name
from study.opening import study_with_models
from tasks.edit_request import EditRequest


@flow(name="edit", flow_run_name=flow_run_name, log_prints=True)
def edit_flow(
    root: str, edit: EditRequest, out: str | None = None, overrides: list[str] | None = None
) -> dict[str, Any]:
    """Edit one image by the concepts of a finished study: the image before, after and under a control.

    Args:
        root: Folder of the study, as in runs/mini.
        edit: What is edited, where, when and how strongly.
        out: Folder of the pictures and the row; empty: the study's own name with -edits, beside it.
        overrides: Where the study's models are by now, as in model.path=FOLDER, if not where it found them.
    """
    from tasks.artifacts import edit_artifacts  # here: who only serves this flow waits for no model library
    from tasks.edit_files import edit_into

    with cancelled_if_ended():
        study = study_with_models(root, overrides or [])
        made, files = edit_into(study, edit, out)
        edit_artifacts(study, made.row, list(made.images.values()), str(files[0].parent))
    for line in (*made.row["cautions"], *files):
        print(line)
    return made.row
