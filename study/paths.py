"""Where a study keeps what: ranges of prompts and shards, folders of sites, names of units and parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from storage.growth import Growths, Range, growths_of
from storage.site import AnySite, Site

if TYPE_CHECKING:
    from study.study import Study


def growths(study: Study) -> Growths:
    """How a growing study has grown so far."""
    return growths_of(study.root)


def split_ranges(study: Study, split: str, as_trained: bool = False) -> list[Range]:
    """[start, stop) of a split's prompt ids, ascending: one of a study that does not grow.

    A growing study's train split is the one that its SAEs are trained on; ``as_trained`` gives the others as they were
    at that time. Raises ``KeyError`` for no split.
    """
    prompts = study.config.prompts
    if prompts.grows:
        if split not in prompts.splits:
            raise KeyError(split)
        return growths(study).ranges(split, prompts.shard_size, as_trained)
    start = 0
    for name, size in prompts.sizes.items():
        if name == split:
            return [(start, start + size)]
        start += size
    raise KeyError(split)


def split_runs(study: Study, split: str) -> list[Range]:
    """[first, last) of a split's prompts, a shard's worth at a time, as they lie in its ranges."""
    size = study.config.prompts.shard_size
    return [
        (first, min(first + size, stop))
        for start, stop in split_ranges(study, split)
        for first in range(start, stop, size)
    ]


def split_ids(study: Study, split: str) -> list[int]:
    """The prompt ids of a split, ascending."""
    return [prompt_id for start, stop in split_ranges(study, split) for prompt_id in range(start, stop)]


def in_split(study: Study, split: str, prompt_id: int) -> bool:
    """Whether a prompt is of the split; SAEs may not be trained on it yet."""
    prompts = study.config.prompts
    if prompts.grows:
        return growths(study).splits[prompt_id // prompts.shard_size] == split
    return any(start <= prompt_id < stop for start, stop in split_ranges(study, split))


def planned_prompts(study: Study) -> int:
    """Prompts of all splits together, those of a growing study as far as it has grown."""
    prompts = study.config.prompts
    return len(growths(study).splits) * prompts.shard_size if prompts.grows else sum(prompts.sizes.values())


def shards_of(study: Study, *splits: str, as_trained: bool = False) -> list[int]:
    """Shards that hold at least one prompt of the named splits, all by default, ascending."""
    prompts, shards = study.config.prompts, set[int]()
    if prompts.grows:
        return growths(study).shards(splits, as_trained)
    for split in splits or tuple(prompts.splits):
        for start, stop in split_ranges(study, split):
            shards.update(range(start // prompts.shard_size, (stop - 1) // prompts.shard_size + 1))
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
