"""What is edited: a study's prompts, and their images as they are without an edit."""

from __future__ import annotations

import numpy as np

from concepts.cases import Case, global_cases, spatial_cases
from study.models import backend_of
from study.reading import images_by_id, prompts_of_split
from study.study import Study
from vision.words import mentions


def cases_of(study: Study, kind: str, target: str, split: str, prompts: int) -> list[Case]:
    """The cases of a target among the first ``prompts`` fitting prompts of a split."""
    rows = prompts_of_split(study, split).to_pylist()
    if kind == "spatial":
        return spatial_cases(rows, target, prompts, mentions)
    return global_cases(rows, looks_of(study), prompts, mentions)


def looks_of(study: Study) -> tuple[str, ...]:
    """The configured styles, and every other look that the judge knows by name, if it is one that knows any."""
    known = getattr(backend_of(study).judge, "looks", ())
    return tuple(dict.fromkeys((*study.config.interventions.styles, *known)))


def originals_of(study: Study, cases: list[Case]) -> list[np.ndarray]:
    """The unedited image of each case; a prompt's image is read once, and only those are held."""
    known = images_by_id(study, sorted({case.prompt_id for case in cases}))
    return [known[case.prompt_id] for case in cases]
