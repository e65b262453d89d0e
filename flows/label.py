"""Stage 3, label: segment the images (tag -> detect -> segment -> areas), then label every SAE's concepts."""

from __future__ import annotations

from prefect import flow

from flows.common import flow_run_name, run_each, run_steps, stage
from study.paths import sae_units, shards_of, unit_name
from study.plans import SEGMENTED_SPLITS
from study.preconditions import require
from study.publish import shard_name
from tasks.artifacts import label_artifacts
from tasks.units import areas_task, detect_task, label_task, segment_task, tag_task

STEPS = {"tag": tag_task, "detect": detect_task, "segment": segment_task, "areas": areas_task}


@flow(name="label", flow_run_name=flow_run_name, log_prints=True)
def label_flow(config_path: str, root: str, overrides: list[str] | None = None) -> dict[str, int]:
    """Fill the tables of the segmented images, then those of the labelled concepts."""
    with stage("label", config_path, root, overrides) as study:
        require(study, "collect", "train", "share")
        shards = {shard_name(shard): {"shard": shard} for shard in shards_of(study, *SEGMENTED_SPLITS)}
        run_steps(study, STEPS, shards)
        units = {unit_name(site, k): {"site": site, "k": k} for site, k in sae_units(study)}
        done = run_each(study, "label", label_task, units)
        label_artifacts(study)
    return {"shards": len(shards), "dictionaries": len(units), "labelled_now": len(done)}
