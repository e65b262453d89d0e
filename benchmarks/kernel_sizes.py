"""On a GPU: how many rows and channels a program of the sparse kernels should read at once, tried one by one.

    python -m benchmarks.kernel_sizes [--rounds 20] [--d 1280]

Each of the four sizes of ``sae/kernels.py`` is changed alone, from what stands there, on the jobs of
``benchmarks.sae_kernels`` (same vectors, same latents). Prints the milliseconds of each job and how many times as fast
it is as with the sizes that stand there, timed in turn; above 1 the other size is better.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from benchmarks.sae_kernels import SIZES, in_turn, operations
from sae import kernels

TRIED = {"PAIRS": (4, 16, 32), "BLOCK": (128, 512, 1024), "WARPS": (1, 2, 8), "CUT": (64, 128, 512, 1024)}


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d", type=int, default=1280)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("This benchmark times kernels on a GPU, and torch finds no CUDA device here.")
    standing = {name: getattr(kernels, name) for name in TRIED}
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {vars(options)}, standing: {standing}")
    for n, k in SIZES:
        jobs = operations(options.d, n, k)
        print(f"n={n}, k={k}\n{'size':<12}" + "".join(f"{name:>24}" for name in jobs), flush=True)
        for name, values in TRIED.items():
            for value in values:
                print(
                    f"{name}={value:<6}" + "".join(_compared(job, name, value, options.rounds) for job in jobs.values())
                )


def _compared(job: Callable[[], Tensor], name: str, value: int, rounds: int) -> str:
    """'milliseconds (times as fast)' of the job with one size changed."""
    try:
        changed, standing = in_turn([with_size(job, name, value), job], rounds)
    except Exception as error:  # what does not fit the GPU's registers or memory is no choice
        return f"{type(error).__name__:>24}"
    return f"{f'{changed:.3f} ms ({standing / changed:.2f})':>24}"


def with_size(job: Callable[[], Tensor], name: str, value: int) -> Callable[[], Tensor]:
    """The same job while one size of the kernels is another."""

    def run() -> Tensor:
        with _size(name, value):
            return job()

    return run


@contextmanager
def _size(name: str, value: int) -> Iterator[None]:
    standing = getattr(kernels, name)
    setattr(kernels, name, value)
    try:
        yield
    finally:
        setattr(kernels, name, standing)


if __name__ == "__main__":
    main()
