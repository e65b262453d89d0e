"""Concept Atlas for notebooks and scripts: open a study folder, ask its tables, look at its concepts.

    import concept_atlas
    atlas = concept_atlas.open("runs/mini")
    atlas.at("mid", 0.5, "cond").concept(122)

It reads, and never writes into a study. Work beside your own ``tasks/`` or ``storage/`` is safe: see ``house``.
"""

from concept_atlas.house import keep_apart

keep_apart()

from concept_atlas.atlas import Atlas, Progress, meanings, open, writer_of  # noqa: E402 - the rooms it needs are found by the line above
from concept_atlas.edited import Edited  # noqa: E402
from concept_atlas.site import Codes, Concept, Example, SiteView  # noqa: E402
from concept_atlas.types import AtlasError  # noqa: E402

__all__ = [
    "Atlas",
    "AtlasError",
    "Codes",
    "Concept",
    "Edited",
    "Example",
    "Progress",
    "SiteView",
    "meanings",
    "open",
    "writer_of",
]
