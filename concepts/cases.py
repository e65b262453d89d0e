"""What the rows of edits have in common: the controls they stand beside, and the regions they are asked for."""

from __future__ import annotations

CONCEPTS, RANDOM, UNEDITED = "none", "random_direction", "unedited"  # of the column ``control``
EVERYWHERE = "everywhere"  # the region of a global edit
