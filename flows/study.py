"""The whole study: every stage in order, then the figures. Resumes what is there."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from flows.collect import collect_flow
from flows.common import cancelled_if_ended, flow_run_name, stage
from flows.intervene import intervene_flow
from flows.label import label_flow
from flows.layout import layout_flow
from flows.train import train_flow
from storage.lock import writing
from storage.names import refuse_root
from study.config import load_config
from study.plans import DRAW_STAGE, DRAW_UNIT
from study.publish import publish
from study.study import Study
from study.undone import is_finished
from tasks.figures import draw_all, refuse_failed

STAGES = {
    "collect": collect_flow,
    "train": train_flow,
    "label": label_flow,
    "layout": layout_flow,
    "intervene": intervene_flow,
}


@flow(name="study", flow_run_name=flow_run_name, log_prints=True)
def study_flow(config_path: str, root: str, overrides: list[str] | None = None) -> dict[str, Any]:
    """Run collect, train, label, layout and intervene, then draw ``figures/``. Returns each stage's counts."""
    load_config(config_path, overrides or [])  # a mistake is told before the folder is made
    refuse_root(root)
    with writing(root, "the flow study"), cancelled_if_ended():
        summary = {name: run(config_path, root, overrides) for name, run in STAGES.items()}
        with stage("figures", config_path, root, overrides) as study:
            summary["figures"] = _draw_figures(study)
    return summary


def _draw_figures(study: Study) -> dict[str, Any]:
    """How many were drawn, and which have nothing to show; none if they are there and follow from the present results.

    Raises ``StudyError`` for those that could not be drawn.
    """
    if is_finished(study, DRAW_STAGE, [DRAW_UNIT]):
        return {"drawn": 0}
    drawn = draw_all(study)
    for name, reason in drawn.left_out.items():
        get_run_logger().info("figure %s is left out: %s", name, reason)
    for name, error in drawn.failed.items():
        get_run_logger().error("figure %s could not be drawn", name, exc_info=error)
    refuse_failed(drawn)
    publish(study, DRAW_STAGE, DRAW_UNIT, {}, extra={"figures": [path.stem for path in drawn.files]})
    left_out = {f"left out {name}": f"({reason})" for name, reason in drawn.left_out.items()}
    return {"drawn": len(drawn.files), **left_out}
