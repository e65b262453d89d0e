"""What a study reads from outside, looked at before it is made: model, captions and vision models.

Configs, headers and footers alone are read, no weight and no caption: what is wrong is told at the start, in seconds,
and not when the stage that needs it begins.
"""

from __future__ import annotations

import functools

from tasks.config import StudyConfig
from tasks.study import check_widths


def check_inputs(config: StudyConfig) -> None:
    """Raise an error of the user's for the first thing that a new study could not use."""
    _check(config.model_dump_json())


@functools.lru_cache(maxsize=4)  # the command line asks before it locks the folder, and again as it makes the study
def _check(settings: str) -> None:
    from diffusion.model import check_model
    from vision.backend import check_backend

    config = StudyConfig.model_validate_json(settings)
    model = check_model(config.model, config.sampling, dict(config.sites.blocks))
    check_widths(config, model.shapes)
    config.prompts.token_limit(model.context)
    config.prompts.check_source()
    check_backend(config.vision, model.height, model.width)
