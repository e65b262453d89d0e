"""The concepts of a style at other times than the one they were picked at: those of the most similar embedding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from concepts.cases import most_similar
from storage.tables import read_table
from study.at import Dictionary
from study.errors import StudyError


def transferred(here: Dictionary, style: str, time: float, own: Callable[[Dictionary, str], list[int]]) -> list[int]:
    """What stands at this site for the concepts that carry the style at ``time``, in their order, none twice.

    Those were picked by hand (``interventions.style_cids``), or are what ``own`` gives of that site. A concept without
    an embedding, which no label has, cannot be carried over. Raises ``StudyError`` for a picked CID that is not there.
    """
    source = here.study.at((here.site.block, time, here.site.conditioning), here.k)
    picked = here.study.config.interventions.style_cids.get(style)
    known = embeddings_of(source)
    if picked and (missing := [cid for cid in picked if cid not in known]):
        raise StudyError(
            f"interventions.style_cids.{style}: there is no concept {missing[0]} at {source.site.path}, which has "
            f"{len(known)}"
        )
    cids = list(picked) if picked else own(source, style)
    if here.site == source.site:
        return cids
    there = {cid: vector for cid, vector in embeddings_of(here).items() if vector is not None}
    vectors = [vector for cid in cids if (vector := known[cid]) is not None]
    found = [most_similar(there, vector) for vector in vectors]
    return list(dict.fromkeys(cid for cid in found if cid is not None))


def embeddings_of(here: Dictionary) -> dict[int, np.ndarray | None]:
    """CID -> the mean vector of its labels, None for a concept without labels, or whose labels' vectors cancel out."""
    rows = read_table(here.study.root, "concepts", ["cid", "embedding"], here.filters).to_pylist()
    vectors = {row["cid"]: None if row["embedding"] is None else np.array(row["embedding"]) for row in rows}
    return {cid: None if vector is None or not vector.any() else vector for cid, vector in vectors.items()}
