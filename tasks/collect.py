"""Collecting: captions in, images and residual updates out, one shard at a time."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from diffusion.errors import NotFiniteError
from diffusion.model import DiffusionModel, token_ids
from diffusion.sampling import Samples, SitesToRecord, sample
from storage.images import encode_png
from storage.prompts import plan_prompts, told
from storage.records import read_record
from storage.store_metadata import document_files
from study.errors import StudyError
from study.models import borrowed_model, release_models
from study.paths import in_split, planned_prompts, shard_name
from study.publish import lacking, publish, told_prompts
from study.reading import prompts_of
from study.store import create_store, store_of
from study.study import Study
from study.units import FIRST_IMAGES
from tasks.artifacts import collect_artifacts
from tasks.grow import grow, refuse_other_prompts, told_growth


def plan(study: Study, growth: int = 0) -> dict[str, Any]:
    """Create the activation store and write the ``prompts`` table. Returns the number of prompts.

    The plan is drawn once; a study folder that has it never reads the caption source again. No other stage makes a
    store: where one is missing later, its shards are lost, and an empty one would pass for them. A growing study reads
    its source for every ``growth`` (``tasks.grow``).
    """
    if study.config.prompts.grows:
        return grow(study, growth)
    store = create_store(study)
    if lacking(study, "plan", ["prompts"]):
        dropped: Counter[str] = Counter()
        with borrowed_model(study) as model:
            tokens = functools.partial(token_ids, model)
            table = plan_prompts(study.config.prompts, tokens, model.context, study.config.seed, dropped)
        extra = {"dropped": dict(dropped), "store": store.facts.attributes()}
        metadata = document_files(study.root, store.facts)
        refuse_other_prompts(study, table)
        publish(study, "plan", "prompts", {"prompts": table}, files=metadata, extra=extra)
    return {"prompts": planned_prompts(study)}


def end(study: Study) -> dict[str, Any]:
    """Give up the models, show the first images, report the prompts and the captions passed over for them."""
    release_models()
    collect_artifacts(study)
    prompts = planned_prompts(study)
    if study.config.prompts.grows:
        return {"prompts": prompts, **told_growth(study)}
    record = read_record(study.root, "plan", "prompts") or {}
    return {"prompts": f"{prompts}{told(Counter(record.get('dropped', {})))}"}


def collect_shard(study: Study, shard: int) -> dict[str, Any]:
    """Sample one shard's images and record every site. Returns counts.

    The Zarr shards come first, then the images part, then the completion record with their checksums: a kill at
    any point leaves the shard not done, and the next run writes the same bytes again.
    """
    store = store_of(study)
    start, stop = store.shard_range(shard)
    prompts = prompts_of(study, start, stop)
    rows, activations = _sample_all(study, prompts)
    checksums = {site.path: store.write_shard(site, shard, array) for site, array in activations.items()}
    facts = {"rows": stop - start, "checksums": checksums, "prompts": told_prompts(prompts)}
    publish(study, "collect", shard_name(shard), {"images": rows}, extra=facts)
    return {"shard": shard, "prompts": stop - start}


def _sample_all(study: Study, prompts: pa.Table) -> tuple[list[dict[str, Any]], dict[Any, np.ndarray]]:
    """Sample a shard in batches: the rows of its images that are kept, and float16 [n, h, w, C] per site.

    Every batch is copied into its place, so that memory holds a shard's activations once, and a batch.
    """
    sites, size = study.config.sites, study.config.sampling.batch_size
    record = SitesToRecord(dict(sites.blocks), tuple(sites.times), tuple(sites.conditionings))
    rows: list[dict[str, Any]] = []
    activations: dict[Any, np.ndarray] = {}
    with borrowed_model(study) as model:
        for start in range(0, len(prompts), size):
            batch = prompts.slice(start, size)
            ids = batch["prompt_id"].to_pylist()
            kept = [row for row, prompt_id in enumerate(ids) if keeps_image(study, prompt_id)]
            samples = _sample_batch(study, model, batch, record, decode=bool(kept))
            for site, part in samples.activations.items():
                if site not in activations:
                    activations[site] = np.empty((len(prompts), *part.shape[1:]), part.dtype)
                activations[site][start : start + len(part)] = part
            rows += [_image_row(ids[row], samples.images[row]) for row in kept]
    return rows, activations


def keeps_image(study: Study, prompt_id: int) -> bool:
    """Whether a prompt's image is stored. Of the train split only the activations are of use, and what is shown."""
    settings = study.config.sampling
    return settings.train_images or prompt_id < FIRST_IMAGES or not in_split(study, "train", prompt_id)


def _sample_batch(
    study: Study, model: DiffusionModel, prompts: pa.Table, record: SitesToRecord, decode: bool
) -> Samples:
    captions, seeds = prompts["caption"].to_pylist(), prompts["seed"].to_pylist()
    try:
        return sample(model, captions, seeds, study.config.sampling, record, decode=decode)
    except NotFiniteError as error:
        row = prompts.slice(error.row, 1).to_pylist()[0]
        raise StudyError(f"prompt {row['prompt_id']} ({row['caption'][:60]!r}): {error}") from error


def _image_row(prompt_id: int, image: np.ndarray) -> dict[str, Any]:
    data = encode_png(image)
    height, width = image.shape[:2]
    digest = hashlib.sha256(data).hexdigest()
    return {"prompt_id": prompt_id, "image": data, "width": width, "height": height, "sha256": digest}
