"""Where a study keeps what: ranges of prompts and shards, folders of sites, names of units and parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from storage.site import AnySite, Site

if TYPE_CHECKING:
    from study.study import Study


def split_range(study: Study, split: str) -> tuple[int, int]:
    """[start, stop) of a split's prompt ids; splits are contiguous in the order of the configuration."""
    start = 0
    for name, size in study.config.prompts.splits.items():
        if name == split:
            return start, start + size
        start += size
    raise KeyError(split)


def shards_of(study: Study, *splits: str) -> list[int]:
    """Shards that hold at least one prompt of the named splits, ascending."""
    size = study.config.prompts.shard_size
    shards: set[int] = set()
    for split in splits or tuple(study.config.prompts.splits):
        start, stop = split_range(study, split)
        if stop > start:
            shards.update(range(start // size, (stop - 1) // size + 1))
    return sorted(shards)


def of_seed(study: Study, folder: Path, seed: int) -> Path:
    """The folder of an SAE: ``folder`` itself for the study's seed, and below it ``seed<seed>`` for a further one."""
    return folder if seed == study.config.seed else folder / f"seed{seed}"


def shared_folder(study: Study, block: str, conditioning: str) -> Path:
    """Where the SAEs of all times together are trained; folded, they lie in each site's ``k<k>/shared``."""
    return Path(study.root) / "saes" / block / "shared" / conditioning


def time_series(study: Study) -> list[tuple[str, str]]:
    """Every (block, conditioning): the sites that differ in time only."""
    return [(block, c) for block in study.config.sites.blocks for c in study.config.sites.conditionings]


def series_name(block: str, conditioning: str) -> str:
    """Name of the completion record of a (block, conditioning)."""
    return f"{block}/{conditioning}"


def sae_units(study: Study) -> list[tuple[Site, int]]:
    """Every (site, k): the unit of work of training, labelling and layout."""
    return [(site, k) for site in study.config.sites_list() for k in study.config.sae.k]


def unit_name(site: AnySite, k: int) -> str:
    """Name of a unit's completion record."""
    return f"{Site(*site).path}/k{k}"


def shard_name(shard: int) -> str:
    """Name of a shard in records and table parts."""
    return f"{shard:06d}"
