"""What of a growing study's captions a stage's results follow from, besides its settings.

A shard that was collected stands, and so does what is made of it alone. What is made of many shards, such as a
dictionary, is made of so many: the hash in its record covers their number, which says which, since shards are only ever
added. So a growth undoes what read from a split that grew, what follows from it, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from storage.growth import TRAIN, growth_unit
from storage.shown import OF_GROWTH, show, shown_growths
from study.paths import growths
from study.stages import STAGES
from study.units import is_by_shard

if TYPE_CHECKING:
    from study.study import Study


def with_data(study: Study, stage: str, digest: str) -> str:
    """The hash of a stage's settings and, of a growing study, of the shards that its results follow from."""
    if not study.config.prompts.grows or not (data := data_of(study, stage)):
        return digest
    return hashlib.sha256(json.dumps([digest, data], sort_keys=True).encode()).hexdigest()[:16]


def grown_hashes(study: Study, digests: Mapping[str, str]) -> dict[str, str]:
    """The same of every stage."""
    return {stage: with_data(study, stage, digest) for stage, digest in digests.items()}


def data_of(study: Study, name: str) -> dict[str, Any]:
    """Stage that was read from -> how many of its shards; of a stage that is no shard's, the same of it.

    SAEs follow from the shards that there were when they were refreshed last.
    """
    stage = STAGES[name]
    if name == "plan" or is_by_shard(stage.units) or not stage.asked(study.config.model_dump(mode="json")):
        return {}
    if stage.replaces:
        return {"shards": growths(study).trained_end}
    data: dict[str, Any] = {}
    for before, origin in {**stage.after, **stage.too}.items():
        earlier = STAGES[before]
        if is_by_shard(earlier.units):
            data[before] = len(set(origin.names(study, earlier.units(study), "", {})))
        elif before != "plan" and (found := data_of(study, before)):
            data[before] = found
    return data


def show_grown(study: Study, stages: Iterable[str]) -> None:
    """Have the tables of the stages show the latest growth, all at once."""
    if study.config.prompts.grows:
        show(study.root, stages, growths(study).last)


def growth_sentences(study: Study, stages: Iterable[str]) -> list[str]:
    """What is to be known of a growing study's state: tables that show a former growth, SAEs that wait for captions."""
    if not study.config.prompts.grows or not (known := growths(study)).ends:
        return []
    shown, sentences = shown_growths(study.root), []
    if behind := [stage for stage in stages if shown.get(stage, known.last) < known.last]:
        sentences.append(
            f"growth {known.last} is under way: the tables of {', '.join(behind)} show the former one until "
            "`concepts run` has ended"
        )
    trained, there = len(known.shards((TRAIN,))), sum(split == TRAIN for split in known.splits)
    if trained < there:
        sae = study.config.sae
        rule = "" if sae.refresh == "never" else f" from {sae.refresh_from:g} of growth on"
        sentences.append(
            f"SAEs are of {trained} of the {there} shards of the train split (sae.refresh is '{sae.refresh}'{rule})"
        )
    return sentences


def run_facts(study: Study) -> dict[str, Any]:
    """What the record of a run says of the growth that it ended with; nothing of a study that does not grow."""
    return {OF_GROWTH: growths(study).last} if study.config.prompts.grows else {}


def growth_of(study: Study, stage: str, unit: str) -> int:
    """The growth that a unit is of: that of its shard, of its reading of the source, or else the latest."""
    known = growths(study)
    if stage == "plan":
        return next((n for n in range(known.last + 1) if growth_unit(n) == unit), known.last + 1)
    return known.growth_of(int(unit)) if is_by_shard(STAGES[stage].units) else max(known.last, 0)
