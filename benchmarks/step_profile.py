"""On a GPU: where a training step's time goes, and what is left of it when the host no longer launches its kernels.

    python -m benchmarks.step_profile [--steps 20] [--d 1280]

At the sizes of ``benchmarks.sae_kernels``, 4096 vectors a step, both precisions: milliseconds a step by the clock, the
GPU's own milliseconds in kernels (torch's profiler), how many kernels that are, the dearest of them, and milliseconds a
step when the same step is replayed as one CUDA graph. Clock far above kernels: the host is what it waits for.
Then the same ten steps twice: equal inputs are to give equal bits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.sae_kernels import SIZES, VECTORS
from sae.members import Member, Stack
from sae.settings import SAESettings
from sae.step import TrainState, train_step


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--d", type=int, default=1280)
    parser.add_argument("--shown", type=int, default=16)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("This benchmark profiles a GPU, and torch finds no CUDA device here.")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {vars(options)}")
    for n, k in SIZES:
        for precision in ("bfloat16", "float32"):
            report(options, n, k, precision)
    print(f"the same ten steps made twice: {numbers_apart(options.d)} numbers of the weights differ")


def report(options: argparse.Namespace, n: int, k: int, precision: str) -> None:
    """One size and precision."""
    step = _step(options.d, n, k, precision)
    clock = _milliseconds(step, options.steps)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        for _ in range(options.steps):
            step()
        torch.cuda.synchronize()
    rows = sorted(seen.key_averages(), key=lambda row: row.self_device_time_total, reverse=True)
    kernels = [row for row in rows if row.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(row.self_device_time_total for row in kernels) / 1000 / options.steps
    count = sum(row.count for row in kernels) / options.steps
    print(f"n={n}, k={k}, {precision}: {clock:.2f} ms a step, {busy:.2f} ms in {count:.0f} kernels", flush=True)
    print(f"  {_graphed(options, n, k, precision)}")
    for row in kernels[: options.shown]:
        each = row.self_device_time_total / 1000 / options.steps
        print(f"    {each:7.3f} ms  {row.count / options.steps:5.1f} x  {row.key[:110]}", flush=True)


def _step(d: int, n: int, k: int, precision: str, in_graph: bool = False) -> Callable[[], object]:
    generator = torch.Generator("cuda").manual_seed(0)
    x_ND = torch.randn(VECTORS, d, device="cuda", generator=generator)
    settings = SAESettings(k=(k,), batch_size=VECTORS, precision=precision)
    state = TrainState(Stack(d, [Member(k, n, 0)], "cuda"), settings)
    state.step = 1  # no look for dead latents, which waits for the device
    if in_graph:
        for group in state.optimizer.param_groups:
            group["capturable"] = True

    def step() -> object:
        figures = train_step(state, x_ND, settings, 1e-4)
        state.step = 1
        return figures

    return step


def _graphed(options: argparse.Namespace, n: int, k: int, precision: str) -> str:
    """The same step as a CUDA graph; a step that cannot be one says why."""
    step, side = _step(options.d, n, k, precision, in_graph=True), torch.cuda.Stream()
    try:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return f"replayed as a graph {_milliseconds(graph.replay, options.steps):.2f} ms"
    except RuntimeError as error:
        return f"no graph: {str(error).splitlines()[0][:150]}"


def _milliseconds(job: Callable[[], object], times: int) -> float:
    for _ in range(5):
        job()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(times):
        job()
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - started) / times


def numbers_apart(d: int, n: int = 1024, k: int = 10, vectors: int = 1024) -> int:
    """How many numbers of the weights differ after the same ten steps were made twice."""
    settings = SAESettings(k=(k,), batch_size=vectors)
    x_ND = torch.randn(10 * vectors, d, device="cuda", generator=torch.Generator("cuda").manual_seed(0))

    def trained() -> list[Tensor]:
        state = TrainState(Stack(d, [Member(k, n, 0)], "cuda"), settings)
        for batch in x_ND.split(vectors):
            train_step(state, batch, settings, 1e-3)
        return list(state.stack.parameters())

    return sum(int((a != b).sum()) for a, b in zip(trained(), trained(), strict=True))


if __name__ == "__main__":
    main()
