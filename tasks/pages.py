"""Which concepts' cards ``concepts card`` draws, from the words of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from study.errors import StudyError
from study.opening import recorded_study
from study.study import Study
from tasks.cards import draw_card, pick_cards


def draw_cards(root: Path, where: str | None, cid: int | None, k: int | None) -> Iterator[Path]:
    """Draw one concept's card or, without a site, those that show best what there is; yields the files.

    ``where`` is BLOCK/T/COND. Raises ``StudyError`` for a site or a concept that is not there.
    """
    study = recorded_study(root)
    if where is None:
        keys = pick_cards(study)
        if not keys:
            raise StudyError(
                f"{root} has no concept of a cond site to show: run `concepts label` first, or name a site and a number"
            )
        for key in keys:
            yield draw_card(root, *key, study.config_hash)
        return
    sites = {site.path: site for site in study.config.sites_list()}
    if where not in sites:
        raise StudyError(f"{root} has no site {where!r}: it has {', '.join(sites)}")
    if cid is None:
        raise StudyError(f"concepts card {root} {where}: name a concept's number too, or leave the site out")
    yield draw_card(root, sites[where], _chosen_k(study, k), cid, study.config_hash)


def _chosen_k(study: Study, k: int | None) -> int:
    there = study.config.sae.k
    if k is None and len(there) == 1:
        return there[0]
    if k not in there:
        raise StudyError(f"the study has SAEs of k = {', '.join(map(str, there))}: name one with --k")
    return k
