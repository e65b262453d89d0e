"""On a GPU: the sparse operations as Triton kernels beside torch's own, and the training step beside its one product.

    python -m benchmarks.sae_kernels [--rounds 20] [--d 1280]

At n = 5120, k = 20 and n = 20480, k = 32, with 4096 vectors a step. By row: pairs in row order (decoding); by latent:
sorted by latent (weight gradients). Latents are uneven as TopK leaves them, and one is on in every vector. Every ratio
compares two ways of one job, timed in turn by the device's clock; the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from sae import primitives
from sae.kernels import work_on
from sae.members import Member, Stack
from sae.primitives import sddmm, spmm
from sae.settings import SAESettings
from sae.sparse import ByLatent, chosen_from_rows
from sae.step import TrainState, train_step

SIZES = ((5120, 20), (20480, 32))
VECTORS = 4096


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d", type=int, default=1280)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("This benchmark times kernels on a GPU, and torch finds no CUDA device here.")
    if not work_on(torch.device("cuda", torch.cuda.current_device())):
        raise SystemExit(
            "Triton's kernels do not run on this GPU: pip install triton, and see the warning above, if any."
        )
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {vars(options)}")
    for n, k in SIZES:
        print(f"n={n}, k={k}")
        for name, job in operations(options.d, n, k).items():
            ours, torchs = in_turn([job, without_kernels(job)], options.rounds)
            print(f"  {name}: Triton {ours:.3f} ms, torch {torchs:.3f} ms: {torchs / ours:.1f} times as fast")
        for precision in ("float32", "bfloat16"):
            step_beside_product(options, n, k, precision)


def operations(d: int, n: int, k: int) -> dict[str, Callable[[], Tensor]]:
    """What a training step asks of the two primitives."""
    generator = torch.Generator("cuda").manual_seed(0)
    x_ND, W_MD = (torch.randn(rows, d, device="cuda", generator=generator) for rows in (VECTORS, n))
    liking_M = torch.randn(n, device="cuda", generator=generator)
    scores_NM = torch.randn(VECTORS, n, device="cuda", generator=generator) + liking_M
    scores_NM[:, 0] = torch.inf  # on everywhere
    chosen = chosen_from_rows(scores_NM.topk(k, dim=1).indices, VECTORS, n)
    order = ByLatent.of(chosen)
    values_E = torch.rand(VECTORS * k, device="cuda", generator=generator)
    return {
        "products": lambda: sddmm(x_ND, W_MD, chosen.vectors_E, chosen.latents_E),
        "bag by row": lambda: spmm(W_MD, chosen.latents_E, chosen.offsets_R, values_E),
        "bag by latent": lambda: order.sum_rows(x_ND, chosen.vectors_E, values_E),
    }


def step_beside_product(options: argparse.Namespace, n: int, k: int, precision: str) -> None:
    """The whole step, with the kernels and without, over x W alone in the same precision."""
    x_ND, W_MD = (torch.randn(rows, options.d, device="cuda") for rows in (VECTORS, n))
    settings = SAESettings(k=(k,), batch_size=VECTORS, precision=precision)
    state = TrainState(Stack(options.d, [Member(k, n, 0)], "cuda"), settings)
    low_ND, low_MD = (tensor.to(getattr(torch, precision)) for tensor in (x_ND, W_MD))

    def step() -> object:
        return train_step(state, x_ND, settings, 1e-4)

    ours, torchs, product = in_turn([step, without_kernels(step), lambda: low_ND @ low_MD.T], options.rounds)
    print(
        f"  step, {precision}: {ours:.2f} ms, {torchs:.2f} ms without the kernels, encoder product alone "
        f"{product:.2f} ms: {ours / product:.2f} and {torchs / product:.2f} times"
    )


def without_kernels(job: Callable[[], object]) -> Callable[[], object]:
    """The same job through torch's operations."""

    def run() -> object:
        with torchs_operations():
            return job()

    return run


@contextmanager
def torchs_operations() -> Iterator[None]:
    """``sae`` as if there were no Triton."""
    by_triton = primitives.by_triton
    primitives.by_triton = lambda *floats: False
    try:
        yield
    finally:
        primitives.by_triton = by_triton


def in_turn(jobs: list[Callable[[], object]], rounds: int) -> list[float]:
    """Median milliseconds of each job, timed in turn after two runs of each that do not count."""
    times: list[list[float]] = [[] for _ in jobs]
    for job in 2 * jobs:
        job()
    for _ in range(rounds):
        for job, kept in zip(jobs, times, strict=True):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            start.record()
            job()
            end.record()
            end.synchronize()
            kept.append(start.elapsed_time(end))
    return [statistics.median(kept) for kept in times]


if __name__ == "__main__":
    main()
