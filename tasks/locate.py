"""Finding the blocks of a kind of edit, where the configuration leaves them to a trace: ``traced_blocks``.

Only blocks that have SAEs can be edited, so only the study's own are tried. `concepts trace` looks at all of them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from concepts.traced import Blocks, Effects, Pairs, chosen_blocks, grown_sets, traced_rows
from study.errors import StudyError
from study.located import BLOCKS, LOCATE
from study.models import borrowed_model
from study.publish import publish
from study.study import Study
from tasks.trace import Pair, Tracer, pairs_of


def run_locate(study: Study, kind: str) -> dict[str, Any]:
    """Try the study's blocks by patching; write ``traced_blocks`` rows, and the choice into the unit's record."""
    pairs = _pairs(study, kind)
    modules = study.config.sites.blocks
    with borrowed_model(study) as model:
        tracer = Tracer(study, model, "patch", kind, pairs)
        tried = grown_sets(tuple(modules), partial(_effects, tracer, modules), len(modules))
        of_pairs = Pairs(tracer.ceiling, [pair.case.prompt_id for pair in pairs])
    settings = study.config.interventions
    best = chosen_blocks(tried)
    rows = [{"kind": kind, **row} for row in traced_rows(tried, best, of_pairs, settings.bootstrap, study.config.seed)]
    chosen = sorted(best, key=list(modules).index)  # as the configuration lists them
    publish(study, LOCATE, kind, {"traced_blocks": rows}, extra={BLOCKS: chosen})
    return {"kind": kind, BLOCKS: chosen}


def _effects(tracer: Tracer, modules: dict[str, str], sets: list[Blocks]) -> Effects:
    """Of sets of the study's blocks, by their names in the configuration."""
    by_path = {tuple(modules[block] for block in blocks): blocks for blocks in sets}
    return {by_path[paths]: effects for paths, effects in tracer.effects(list(by_path)).items()}


def _pairs(study: Study, kind: str) -> list[Pair]:
    """Raises ``StudyError`` if there are none, naming the way out."""
    if pairs := pairs_of(study, kind):
        return pairs
    why = "no prompt of the style or layout split names and shows one of interventions.objects, and no look"
    if kind == "spatial" and len(study.config.interventions.objects) < 2:
        why = "interventions.objects names one object alone, and a trace asks for another instead"
    raise StudyError(
        f"{study.root}: {why}, so no trace can choose the block of {kind} edits: name it in interventions.{kind}_block"
    )
