"""The activation store of a study: made once, by planning, and never again where shards were recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from storage.records import read_record, records
from storage.store_metadata import NoStoreError, StoreFacts, read_documents, store_path
from storage.vouch import check, vouched_files
from study.config import StudyConfig
from study.errors import StudyError
from study.models import measured_shapes
from study.paths import planned_prompts
from study.study import Study

if TYPE_CHECKING:
    from storage.activations import ActivationStore


def store_of(study: Study) -> ActivationStore:
    """The activation store that planning made.

    Raises ``StorageError`` if it is not there, or if its metadata are not those that the plan's record names.
    """
    from storage.activations import ActivationStore

    store = ActivationStore.open(study.root)
    for name, digest in vouched_files(read_record(study.root, "plan", "prompts") or {}).items():
        check(Path(study.root) / name, digest)
    return store


def refuse_lost_store(root: str | Path) -> None:
    """Raise ``StorageError`` if the store lacks metadata, ``StudyError`` if it is gone with the shards in it."""
    try:
        read_documents(root)
    except NoStoreError as error:
        if recorded := records(root, "collect"):
            raise StudyError(
                f"{store_path(root)} is gone, with {len(recorded)} recorded shards: put it back, or run "
                "`concepts repair` and `concepts run` to record them again"
            ) from error


def create_store(study: Study, prompts: int | None = None) -> ActivationStore:
    """Make the store, one float16 array [prompt, row, column, channel] per site, or check the one that is there.

    A growing study's is given room for so many ``prompts``, by default those that are planned.

    Raises as ``refuse_lost_store`` does: an empty store would not bring the shards back.
    """
    from storage.activations import ActivationStore

    config, total = study.config, planned_prompts(study) if prompts is None else prompts
    refuse_lost_store(study.root)
    try:
        shapes = _shapes_by_block(store_of(study))  # a study's model never changes: no need to load it
    except NoStoreError:
        shapes = measured_shapes(study)
    check_widths(config, shapes)
    by_site = {site: shapes[site.block] for site in config.sites_list() if site.block in shapes}
    try:
        store = ActivationStore.open(study.root)
    except NoStoreError:
        store = None
    if store is not None and config.prompts.grows and store.facts.shapes == StoreFacts(by_site, 0, 1).shapes:
        return store.resized(total)
    return ActivationStore.create(study.root, by_site, total, config.prompts.shard_size, config.run.compression)


def _shapes_by_block(store: ActivationStore) -> dict[str, tuple[int, int, int]]:
    return {site[0]: store.shape(site) for site in store.sites}


def check_widths(config: StudyConfig, shapes: dict[str, tuple[int, int, int]]) -> None:
    """Refuse a k that no SAE of a block can have now, before hours of collecting, not when training begins."""
    for block, (_, _, channels) in shapes.items():
        latents = min(config.sae.expansion) * channels
        if max(config.sae.k) > latents:
            raise StudyError(
                f"sae.k is {max(config.sae.k)} but the SAE of block {block!r} has only {latents} latents: "
                "lower k or raise sae.expansion"
            )
