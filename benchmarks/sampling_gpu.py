"""On a GPU: images a second by batch size, and what the layout of memory and waiting for the host cost.

    python -m benchmarks.sampling_gpu MODEL [--steps 10] [--batches 4 16 32 64] [--dtype float16]

MODEL is a folder of Stable Diffusion's architecture (``python -c "from pathlib import Path; from
benchmarks.random_model import build_model; build_model(Path('MODEL'))"`` writes one with random weights). Each row
compares ways of one job in turn in one process: our ``sample``, without decoding; the U-Net's calls alone, on the same
shapes, queued with nothing between them, which is what sampling cannot be faster than; the same with weights and
latents in channels-last order. Operations are counted by torch, so TFLOP/s can be held against what the GPU can do in
one large product, which is printed first.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from diffusion.model import DiffusionModel, load_model
from diffusion.sampling import SitesToRecord, sample
from diffusion.settings import ModelSettings, SamplingSettings

BLOCKS = {"down": "down_blocks.2.attentions.1", "mid": "mid_block.attentions.0", "up": "up_blocks.1.attentions.0"}
ROUNDS = 3


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 16, 32, 64])
    parser.add_argument("--dtype", default="float16", choices=("float16", "bfloat16"))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("This benchmark times sampling on a GPU, and torch finds no CUDA device here.")
    model = load_model(ModelSettings(path=options.model, device="cuda", dtype=options.dtype))
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {vars(options)}")
    print(f"one product of 8192 x 8192 x 8192: {_product_rate(model.dtype):.0f} TFLOP/s")
    for batch in options.batches:
        _report(model, SamplingSettings(steps=options.steps, guidance_scale=7.5, batch_size=batch), batch)


def _report(model: DiffusionModel, settings: SamplingSettings, batch: int) -> None:
    record = SitesToRecord(BLOCKS, (1.0, 0.5, 0.0))
    captions, seeds = [f"a tree and a house , number {i}" for i in range(batch)], list(range(batch))
    unet = _unet_alone(model, settings, batch)
    with FlopCounterMode(display=False) as counter:
        unet()
    operations = counter.get_total_flops()
    jobs: dict[str, Callable[[], object]] = {
        "sampled and recorded": lambda: sample(model, captions, seeds, settings, record, decode=False),
        "sampled": lambda: sample(model, captions, seeds, settings, decode=False),
        "sampled and decoded": lambda: sample(model, captions, seeds, settings),
        "U-Net alone": unet,
    }
    times = in_turn(list(jobs.values()))
    model.unet.to(memory_format=torch.channels_last)
    jobs["sampled, channels last"] = jobs["sampled"]
    jobs["U-Net alone, channels last"] = _unet_alone(model, settings, batch, torch.channels_last)
    times += in_turn(list(jobs.values())[-2:])
    model.unet.to(memory_format=torch.contiguous_format)
    for name, seconds in zip(jobs, times, strict=True):
        print(
            f"batch {batch:>3}, {name:<27} {batch / seconds:7.2f} images/s of {settings.steps} steps, "
            f"{operations / seconds / 1e12:5.0f} TFLOP/s of the U-Net, {times[3] / seconds:.2f} of its own speed",
            flush=True,
        )


def _unet_alone(
    model: DiffusionModel,
    settings: SamplingSettings,
    batch: int,
    layout: torch.memory_format = torch.contiguous_format,
) -> Callable[[], Tensor]:
    """All steps' calls of the U-Net on both halves, with nothing between them."""
    shape = (2 * batch, *model.latent_shape(settings))
    latents = torch.randn(shape, device=model.device, dtype=model.dtype).contiguous(memory_format=layout)
    width = model.unet.config.cross_attention_dim
    text = torch.randn(2 * batch, model.context, width, device=model.device, dtype=model.dtype)
    times = torch.linspace(999, 0, settings.steps, device=model.device)

    @torch.inference_mode()
    def run() -> Tensor:
        return [model.unet(latents, time_, text).sample for time_ in times][-1]

    return run


def in_turn(jobs: list[Callable[[], object]]) -> list[float]:
    """Median seconds of each job, timed in turn after one run of each that does not count."""
    taken: list[list[float]] = [[] for _ in jobs]
    for job in jobs:
        job()
    for _ in range(ROUNDS):
        for job, kept in zip(jobs, taken, strict=True):
            torch.cuda.synchronize()
            started = time.perf_counter()
            job()
            torch.cuda.synchronize()
            kept.append(time.perf_counter() - started)
    return [statistics.median(kept) for kept in taken]


def _product_rate(dtype: torch.dtype, size: int = 8192) -> float:
    """Measured TFLOP/s of one large matrix product on random values."""
    left, right = (torch.randn(size, size, device="cuda", dtype=dtype) for _ in range(2))
    (seconds,) = in_turn([lambda: [left @ right for _ in range(10)]])
    return 10 * 2 * size**3 / seconds / 1e12


if __name__ == "__main__":
    main()
