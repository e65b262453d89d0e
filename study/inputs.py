"""What a study reads from outside, looked at before it is made: model, captions and vision models.

Configs, headers and footers alone are read, no weight and no caption: what is wrong is told at the start, in seconds,
and not when the stage that needs it begins.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from study.config import StudyConfig
from study.contradictions import refuse_contradictions
from study.errors import StudyError
from study.store import check_widths

if TYPE_CHECKING:
    from diffusion.model import Facts


def check_inputs(config: StudyConfig) -> Facts:
    """What is known of the model. Raises an error of the user's for the first thing that a new study could not use."""
    refuse_contradictions(config)
    if config.run.devices:
        from study.devices import refuse_absent  # imports torch

        refuse_absent(config)
    return _check(config.model_dump_json())


@functools.lru_cache(maxsize=4)  # the command line asks before it locks the folder, and again as it makes the study
def _check(settings: str) -> Facts:
    from diffusion.model import check_model
    from vision.backend import check_backend
    from vision.perceptual import check_lpips

    config = StudyConfig.model_validate_json(settings)
    model = check_model(config.model, config.sampling, dict(config.sites.blocks))
    check_widths(config, model.shapes)
    config.prompts.token_limit(model.context)
    config.prompts.check_source()
    check_backend(config.vision, model.height, model.width)
    if config.interventions.lpips:
        check_lpips()
    _refuse_empty_batches(config, model)
    return model


def _refuse_empty_batches(config: StudyConfig, model: Facts) -> None:
    prompts, batch = config.prompts.sizes["train"], config.sae.batch_size
    for block, (rows, columns, _) in model.shapes.items():
        if prompts * rows * columns < batch:
            raise StudyError(
                f"sae.batch_size is {batch}, but the {prompts} prompts of prompts.splits.train give only "
                f"{prompts * rows * columns} vectors at block {block!r}: lower the one or raise the other"
            )
