"""What two choices save: a thread for each unit of work, and sampling a prompt's shared steps once.

    python -m benchmarks.sampling [--model miniature/weights/sd-mini] [--rounds 5]

Each ratio compares two ways of one job, timed in turn in one process; the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from diffusion.edits import Edit
from diffusion.model import DiffusionModel, load_model
from diffusion.sampling import SitesToRecord, sample
from diffusion.settings import ModelSettings, SamplingSettings
from storage.images import encode_png

SETTINGS = SamplingSettings(steps=10, guidance_scale=4.0)
CAPTION = "a red house and a tree on the grass"


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="miniature/weights/sd-mini")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cores = torch.get_num_threads()
    models = [load_model(ModelSettings(path=options.model)) for _ in range(cores)]
    print(f"torch {torch.__version__}, {cores} threads, {models[0].device}")
    report(
        f"{16 * cores} images",
        f"one unit on {cores} threads",
        lambda: in_turn(models, cores),
        f"{cores} units on one thread each",
        lambda: side_by_side(models),
        options,
    )
    torch.set_num_threads(cores)
    report(
        "16 images",
        "decoded and encoded",
        lambda: collected(models[0], decode=True),
        "activations alone, as of the train split",
        lambda: collected(models[0], decode=False),
        options,
    )
    for low, high in ((0.6, 1.0), (0.2, 0.6), (0.0, 0.2)):
        report(
            f"16 edits of 4 prompts, window {low} to {high}",
            "every row apart",
            lambda low=low, high=high: edited(models[0], low, high, shared=False),
            "shared steps once",
            lambda low=low, high=high: edited(models[0], low, high, shared=True),
            options,
        )


def in_turn(models: list[DiffusionModel], threads: int) -> None:
    """Sixteen images for each model, one unit after the other, each over all cores."""
    torch.set_num_threads(threads)
    for _ in models:
        sample(models[0], [CAPTION] * 16, list(range(16)), SETTINGS)


def side_by_side(models: list[DiffusionModel]) -> None:
    """The same images, a thread for each model and one core for each thread."""
    torch.set_num_threads(1)
    with ThreadPoolExecutor(len(models)) as pool:
        list(pool.map(lambda model: sample(model, [CAPTION] * 16, list(range(16)), SETTINGS), models))


def collected(model: DiffusionModel, decode: bool) -> None:
    """What is done for a batch of prompts whose images are kept, or are not."""
    record = SitesToRecord({"mid": "mid_block.attentions.0"}, (1.0, 0.0))
    found = sample(model, [CAPTION] * 16, list(range(16)), SETTINGS, record, decode=decode)
    for image in found.images:
        encode_png(image)


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
