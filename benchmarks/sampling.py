"""What two choices in ``diffusion/`` save: channels-last weights, and sampling a prompt's shared steps once.

    python -m benchmarks.sampling [--model miniature/weights/sd-mini] [--rounds 5]

Each ratio compares two ways of one job, timed in turn in one process; the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from diffusion.model import DiffusionModel, load_model
from diffusion.sampling import Edit, sample
from diffusion.settings import ModelSettings, SamplingSettings

SETTINGS = SamplingSettings(steps=10, guidance_scale=4.0)
CAPTION = "a red house and a tree on the grass"


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="miniature/weights/sd-mini")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    channels_last = load_model(ModelSettings(path=options.model))
    contiguous = load_model(ModelSettings(path=options.model))
    for module in (contiguous.unet, contiguous.vae):
        module.to(memory_format=torch.contiguous_format)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {channels_last.device}")
    report("16 images", "contiguous", lambda: plain(contiguous), "channels last", lambda: plain(channels_last), options)
    for low, high in ((0.6, 1.0), (0.2, 0.6), (0.0, 0.2)):
        report(
            f"16 edits of 4 prompts, window {low} to {high}",
            "every row apart",
            lambda low=low, high=high: edited(channels_last, low, high, shared=False),
            "shared steps once",
            lambda low=low, high=high: edited(channels_last, low, high, shared=True),
            options,
        )


def plain(model: DiffusionModel) -> None:
    """Sixteen images."""
    sample(model, [CAPTION] * 16, list(range(16)), SETTINGS)


def edited(model: DiffusionModel, low: float, high: float, shared: bool) -> None:
    """Four edits of each of four prompts; with distinct seeds no step can be shared."""
    seeds = [i // 4 for i in range(16)] if shared else list(range(16))
    edit = Edit("mid_block.attentions.0", low, high, lambda delta, t: delta + 0.1)
    sample(model, [CAPTION] * 16, seeds, SETTINGS, edits=[edit])


def report(
    job: str,
    old_name: str,
    old: Callable[[], None],
    new_name: str,
    new: Callable[[], None],
    options: argparse.Namespace,
) -> None:
    """Time both in turn, a warm-up first, and print the ratio of medians."""
    old(), new()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(options.rounds):
        for way, taken in zip((old, new), times, strict=True):
            started = time.perf_counter()
            way()
            taken.append(time.perf_counter() - started)
    before, after = (statistics.median(taken) for taken in times)
    print(f"{job}: {old_name} {before:.2f} s, {new_name} {after:.2f} s, {before / after:.2f} times as fast")


if __name__ == "__main__":
    main()
