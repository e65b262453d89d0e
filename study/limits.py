"""What no machine can honour, refused with the reason when a configuration is read.

``StudyConfig`` says what a configuration is. A folder of an earlier version may hold settings that are refused here for
a run; it can still be read and revised.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from concepts.settings import PAPER_IOU
from diffusion.times import steps_in_window
from study.errors import StudyError

MOST_SAES = 1000  # of a site: trained together, stacked in memory


class Limit(NamedTuple):
    """The largest (or least) value of a setting, or of each entry of a list or group, and why."""

    bound: float
    why: str


WHOLE_NUMBERS = Limit(2**31 - 1, "more is never counted in a study")
NUMBERS = Limit(1e12, "float32 arithmetic overflows beyond it")
IN_MEMORY = "they are held in memory together"
RESAMPLES = "all resamples are drawn at once"
LIMITS = {
    "seed": Limit(4_000_000_000, "scikit-learn's generators take 32 bits, and further seeds are counted up from it"),
    "sampling.guidance_scale": Limit(1000, "images are one saturated colour far below it"),
    "sampling.batch_size": Limit(65_536, IN_MEMORY),
    "sampling.height": Limit(2048, "attention costs sixteenfold with each doubling, and takes hours an image by then"),
    "sampling.width": Limit(2048, "attention costs sixteenfold with each doubling, and takes hours an image by then"),
    "prompts.splits": Limit(100_000_000, "every prompt takes some 100 bytes while the study is planned"),
    "prompts.shard_size": Limit(65_536, "one task holds a whole shard in memory"),
    "prompts.max_words": Limit(10_000, "no text encoder reads more"),
    "prompts.min_words": Limit(10_000, "no text encoder reads more"),
    "prompts.max_tokens": Limit(10_000, "no text encoder reads more"),
    "sae.k": Limit(65_536, "a code stores k values and indices for every position of every image"),
    "sae.expansion": Limit(1024, "a dictionary of 1024 x 1280 latents takes 54 GB while it is trained"),
    "sae.seeds": Limit(100, "all initialisations are trained together"),
    "sae.batch_size": Limit(1 << 22, IN_MEMORY),
    "sae.buffer_gb": Limit(10_000, "no machine has more memory to give"),
    "sae.lr": Limit(1, "Adam moves every weight by about that much a step"),
    "sae.epochs": Limit(100_000, "each is a pass over all activations"),
    "sae.vectors": Limit(10**15, "no study has as many vectors"),
    "sae.encoder_start": Limit(1000, "every latent would begin with codes a thousand times too large"),
    "sae.dead_after_vectors": Limit(10**15, "no study has as many vectors"),
    "vision.mini.batch_size": Limit(65_536, IN_MEMORY),
    "vision.transformers.batch_size": Limit(4096, IN_MEMORY),
    "vision.transformers.boxes_at_once": Limit(65_536, IN_MEMORY),
    "labels.bins": Limit(100, "a hundred are percentiles, and each is a row of a concept's card"),
    "labels.examples_per_concept": Limit(100, "they are held for every concept and bin, and drawn side by side"),
    "layout.bootstrap": Limit(100_000, RESAMPLES),
    "layout.fit_images": Limit(1_000_000, IN_MEMORY),
    "interventions.bootstrap": Limit(100_000, RESAMPLES),
    "interventions.prompts_per_target": Limit(1_000_000, IN_MEMORY),
    "interventions.calibration_images": Limit(100_000, IN_MEMORY),
    "interventions.spatial_strengths": Limit(10_000, "float16 overflows beyond some thousand times an update's norm"),
    "interventions.global_strengths": Limit(10_000, "float16 overflows beyond some thousand times an update's norm"),
    "run.max_workers": Limit(1024, "each is a thread or a process with a model of its own"),
    "run.torch_threads": Limit(1024, "no machine has more cores to give"),
    "run.retries": Limit(10, "the wait doubles with each"),
    "run.retry_delay": Limit(3600, "it doubles with each retry"),
}
LEAST = {
    "sampling.height": Limit(8, "the autoencoder takes at least 8 pixels to one"),
    "sampling.width": Limit(8, "the autoencoder takes at least 8 pixels to one"),
}


def refuse_unworkable(config: Any, origin: str) -> None:
    """Raise ``StudyError`` for the first setting out of bounds, or window without a step, of a ``StudyConfig``."""
    try:
        for key, value in _numbers(config.model_dump(mode="json")):
            _check(key, value)
        _check_names(config)
        _check_sums(config)
        _check_windows(config)
        _check_paper_rule(config)
    except ValueError as error:
        raise StudyError(f"{origin}: {error}") from error


def _numbers(node: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Every number below a node with its dotted key, those of a plug-in left out: it checks them itself."""
    if isinstance(node, dict):
        for name, value in node.items():
            if f"{key}{name}" != "vision.plugin":
                yield from _numbers(value, f"{key}{name}.")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _numbers(value, f"{key}{number}.")
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield key.rstrip("."), node


def _check(key: str, value: float) -> None:
    most = _limit(LIMITS, key) or (WHOLE_NUMBERS if isinstance(value, int) else NUMBERS)
    least = _limit(LEAST, key)
    if value > most.bound:
        raise ValueError(f"{key!r} is {value}: the most is {most.bound:,.12g} ({most.why})")
    if value < -NUMBERS.bound:
        raise ValueError(f"{key!r} is {value}: the least is {-NUMBERS.bound:,.12g} ({NUMBERS.why})")
    if least and value < least.bound:
        raise ValueError(f"{key!r} is {value}: the least is {least.bound:,.12g} ({least.why})")


def _limit(limits: dict[str, Limit], key: str) -> Limit | None:
    """The limit of a setting, or of the list or group of which ``key`` is an entry."""
    return limits.get(key) or limits.get(key.rpartition(".")[0])


def _check_names(config: Any) -> None:
    given = list(config.sites.conditionings)
    if len(set(given)) != len(given):
        raise ValueError(f"'sites.conditionings' are {given}, one of them twice: keep one")


def _check_sums(config: Any) -> None:
    """What is within bounds one by one and not together."""
    prompts, most = sum(config.prompts.splits.values()), LIMITS["prompts.splits"]
    if prompts > most.bound:
        raise ValueError(f"'prompts.splits' are {prompts} together: the most is {most.bound:,.12g} ({most.why})")
    saes = len(config.sae.k) * len(config.sae.expansion) * config.sae.seeds
    if saes > MOST_SAES:
        raise ValueError(
            f"'sae.k', 'sae.expansion' and 'sae.seeds' make {saes} SAEs a site: the most is {MOST_SAES} (a site's are "
            "trained together, in memory)"
        )


def _check_paper_rule(config: Any) -> None:
    """Folders of earlier versions may have another bar, and can be read."""
    if config.labels.hit_iou != PAPER_IOU:
        raise ValueError(
            f"'labels.hit_iou' is {config.labels.hit_iou:g}, but the bar of the paper's rule, by which `n_hit50` and "
            f"`paper_assigned` count, is {PAPER_IOU}: leave it out; the bar of our own rule is labels.assign_iou"
        )


def _check_windows(config: Any) -> None:
    """A window runs upwards within [0, 1] and has a step; they may overlap, each being an edit of its own."""
    steps = config.sampling.steps
    if not config.interventions.windows:
        raise ValueError("'interventions.windows' is empty: name at least one window")
    for name, (low, high, _) in config.interventions.windows.items():
        said = f"'interventions.windows.{name}' is from {low:g} to {high:g}"
        if low > high:
            raise ValueError(
                f"{said}: times fall while an image is made, but a window is written upwards: swap the two"
            )
        if low < 0 or high > 1:
            raise ValueError(f"{said}: times lie in [0, 1], 1 being pure noise")
        if low == high:
            raise ValueError(f"{said}, which is empty: a window has the steps with from < t <= to")
        if not steps_in_window(low, high, steps):
            raise ValueError(
                f"{said}, which has none of the {steps} steps of sampling.steps (their times are 1/{steps - 1} apart): "
                "widen the window or take more steps"
            )
