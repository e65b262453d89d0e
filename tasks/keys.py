"""Keys of artifacts, by which Prefect's UI finds them: with the study's name, so that studies do not share them."""

from __future__ import annotations

import re


def artifact_key(*parts: str) -> str:
    """``mini-sae-metrics``. Keys are of lower-case letters, digits and dashes; names of studies and blocks need not be.

    A point is left out, as in a time (``1.00`` -> ``100``); of a name without any letter that a key may have, nothing
    is left.
    """
    slugs = [re.sub("[^a-z0-9]+", "-", part.lower().replace(".", "")).strip("-") for part in parts]
    return "-".join(filter(None, slugs)) or "study"
