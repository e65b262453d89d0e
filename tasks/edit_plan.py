"""What an edit that a user asks for comes to in one study, and what is wrong with it, before any model is loaded.

Reads tables and the statistics kept with the SAEs; activations are not needed.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from concepts.regions import region_share
from diffusion.edits import HALVES
from diffusion.times import steps_in_window, time_of_step
from storage.tables import read_table
from storage.vouch import digest_of, digest_of_bytes
from study import located
from study.at import Dictionary
from study.errors import StudyError
from study.reading import image_size, study_labels
from study.saes import TRAINED
from study.study import Study
from tasks.directions import carrying, target_cids, unit_norm
from tasks.edit_clashes import refuse_clashes
from tasks.edit_request import CLAMP, EditPart, EditRequest, number_of
from tasks.edit_terms import EditPlan, PartPlan, SitePlan

ARITHMETIC = 1  # the next number when the same request gives other pictures
SHOWN = 12  # names listed in a sentence
TIMES = re.compile(r"([\d.eE+]+)-([\d.eE+]+)")


def plan_edit(study: Study, request: EditRequest) -> EditPlan:
    """Ask the study. Raises ``StudyError`` or ``ConceptError``, one sentence, for whatever cannot be done."""
    cautions: list[str] = []
    parts = tuple(_part_plan(study, part, cautions) for part in request.planned)
    refuse_clashes(parts, study.config.sampling.steps)
    seed = study.config.seed if request.seed is None else request.seed
    first = parts[0]
    judged = first.part.labels[0] if first.part.labels else first.sites[0].top
    return EditPlan(request, seed, parts, judged, _name(study, request, seed), tuple(cautions))


def _part_plan(study: Study, part: EditPart, cautions: list[str]) -> PartPlan:
    assert part.window is not None, "a request without one is refused"
    window = window_of(study, part.window)
    share = None if part.region is None else region_share(part.region, *image_size(study), part.feather)
    k, halves = study.config.sae.k[0], HALVES if part.half == "both" else ("cond",)
    heres = [study.at((b, window[2], half), k) for b in blocks_of(study, part) for half in halves]
    planned = PartPlan(part, window, share, tuple(_site_plan(part, here, cautions) for here in heres))
    if not any(planned.factor(t) for t in planned.times(study.config.sampling.steps)):
        raise StudyError(
            f"schedule {part.schedule!r} is 0 at every step of window {part.window!r}: nothing would be done; give "
            "another one of the two"
        )
    return planned


def window_of(study: Study, given: str) -> tuple[float, float, float]:
    """(t from, t to, time of the dictionary) of a window by its name, or by its times.

    Of times, the dictionary is that of the recorded time nearest to their middle, the earlier step of two. Raises
    ``StudyError`` for neither, and for a window without a step of the study's sampling.
    """
    known, steps = study.config.interventions.windows, study.config.sampling.steps
    if given in known:
        low, high, t = known[given]
    else:
        low, high = _times(given, known)
        t = min(study.config.sites.times, key=lambda time: (round(abs(time - (low + high) / 2), 9), -time))
    if not steps_in_window(low, high, steps):
        gap = time_of_step(0, steps) - time_of_step(1, steps)
        raise StudyError(
            f"window {given!r} holds none of the study's {steps} steps, which are {gap:.3g} apart from 1 to 0 (those "
            "with from < t <= to): give a longer one"
        )
    return low, high, t


def _times(given: str, known: Iterable[str]) -> tuple[float, float]:
    found = TIMES.fullmatch(given.replace(" ", ""))
    try:
        low, high = (float(part) for part in found.groups()) if found else (1.0, 0.0)
    except ValueError:
        low, high = 1.0, 0.0
    if found and not 0.0 <= low < high <= 1.0:
        raise StudyError(f"window {given!r} is no span of times: give FROM-TO with 0 <= FROM < TO <= 1, as in 0.2-0.6")
    if not found:
        raise StudyError(f"there is no window {given!r}{_nearest(given, list(known))} (times do, too: 0.2-0.6)")
    return low, high


def blocks_of(study: Study, part: EditPart) -> tuple[str, ...]:
    """The blocks that are edited. Raises ``StudyError`` for one that the study does not have."""
    known = list(study.config.sites.blocks)
    for block in part.block:
        if block not in known:
            raise StudyError(f"the study has no block {block!r}{_nearest(block, known)}")
    return part.block or located.blocks_of(study, "global" if part.region is None else "spatial")


def _site_plan(part: EditPart, here: Dictionary, cautions: list[str]) -> SitePlan:
    study = here.study
    if not here.has(TRAINED):
        there = [site.path for site in study.config.sites_list() if study.at(site, here.k).has(TRAINED)]
        listed = f"there is one at {', '.join(there)}" if there else "run `concepts train` first"
        raise StudyError(f"{study.root} has no SAE at {here.site.path}, whose concepts this edit needs: {listed}")
    facts = _facts(here)
    cids = _concepts(here, part.concept, facts)
    instead = _concepts(here, part.instead_of, facts)
    if both := set(cids) & set(instead):
        cids, instead = _without(both, here, part, cids, instead)
        cautions.append(
            f"{_numbered(both)} of {here.site.path} stands for what is put in and what is taken away: left alone"
        )
    if silent := [cid for cid in (*cids, *instead) if not facts[cid]["alive"]]:
        cautions.append(f"concept {silent[0]} of {here.site.path} fires nowhere in the dictionary split")
    levels = tuple(facts[cid]["act_max"] for cid in cids) if part.acts == CLAMP else ()
    top = facts[cids[0]]["top_label"]
    return SitePlan(here, cids, instead, levels, unit_norm(here), top)


def _without(
    both: set[int], here: Dictionary, part: EditPart, cids: tuple[int, ...], instead: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Concepts of two labels that share some. Raises ``StudyError`` if none is left, or one is named by its number."""
    left = [tuple(cid for cid in of if cid not in both) for of in (cids, instead)]
    named = {number_of(name) for name in (*part.concept, *part.instead_of)}
    if both & named or not all(left):
        raise StudyError(
            f"{_numbered(both)} of {here.site.path} would be put in and taken away by one edit: name other concepts"
        )
    return left[0], left[1]


def _numbered(cids: Iterable[int]) -> str:
    return f"concept {', '.join(map(str, sorted(cids)))}"


def _facts(here: Dictionary) -> dict[int, dict[str, Any]]:
    columns = ["cid", "alive", "act_max", "top_label"]
    rows = read_table(here.study.root, "concepts", columns, here.filters).to_pylist()
    if not rows:
        raise StudyError(f"{here.study.root} has no labelled concepts at {here.site.path}: run `concepts label` first")
    return {row["cid"]: row for row in rows}


def _concepts(here: Dictionary, names: Iterable[str], facts: dict[int, Any]) -> tuple[int, ...]:
    """The concepts of labels and numbers, each once. Raises ``StudyError`` for a name that stands for none."""
    found: dict[int, None] = {}
    for name in names:
        number = number_of(name)
        if number is not None and number not in facts:
            raise StudyError(f"{here.site.path} has no concept {number}: name one from 0 to {max(facts)}")
        cids = target_cids(here, name) if number is None else [number]
        if not cids:
            raise StudyError(_not_carried(here, name))
        found |= dict.fromkeys(cids)
    return tuple(found)


def _not_carried(here: Dictionary, label: str) -> str:
    """Why a label stands for no concept of a dictionary: it is none that the study knows, or nothing carries it."""
    study = here.study
    columns = ["cid", "label", "n_co_selection", "lift_selection", "iou_selection", "paper_assigned"]
    by_label: dict[str, list[dict[str, Any]]] = {}
    for row in read_table(study.root, "concept_labels", columns, [*here.filters, ("kind", "==", TRAINED)]).to_pylist():
        by_label.setdefault(row["label"], []).append(row)
    known = sorted({*by_label, *study_labels(study)})
    if label not in known:
        return f"the study knows no label {label!r}{_nearest(label, known)}"
    carried = sorted(name for name, rows in by_label.items() if carrying(study.config, name, rows))
    listed = f"carried there are {_listed(carried)}" if carried else "none is carried there"
    return f"no concept of {here.site.path} carries {label!r}: {listed}; or choose another block or window"


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word.lower(), known, n=3, cutoff=0.5)
    return f": did you mean {' or '.join(map(repr, near))}?" if near else f": it has {_listed(known)}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _name(study: Study, request: EditRequest, seed: int) -> str:
    """Of an edit's files: what is edited in, when, and a digest of all that the pictures and scores follow from."""
    parts = [part.facts for part in request.planned]
    for facts in parts:
        if facts["region"] is not None and Path(facts["region"]).is_file():
            facts["region"] = digest_of(Path(facts["region"]))  # a mask by its contents, wherever it lies
    asked = request.model_dump(mode="json", include={"prompt", "judge", "controls"}) | {"seed": seed, "parts": parts}
    followed = [study.hash_of(stage) for stage in ("label", "intervene")]
    digest = digest_of_bytes(json.dumps([ARITHMETIC, followed, asked], sort_keys=True).encode())
    first = request.planned[0]
    words = re.sub(r"[^\w.]+", "-", f"{'-'.join(first.concept[:3])}-{first.window}").strip("-.")
    return f"{words[:60]}-{digest[:8]}"
