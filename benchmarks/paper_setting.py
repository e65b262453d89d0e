"""Does a dictionary leave its random start under the paper's own training? On vectors whose directions are known.

    python -m benchmarks.paper_setting --d 320                    # a quarter of the width, on two cores
    python -m benchmarks.paper_setting --device cuda              # d = 1280, 5120 latents, as the paper's

The paper (section 2): Adam at lr 1e-4, batches of 4096, one epoch of 12.8 million vectors at t = 1 (51 million at other
times), n = 4 d, k = 10. That is 3,125 steps, in which Adam moves a coordinate by 0.31 at most, eleven times the 0.028
of a unit vector's coordinate in 1280 channels: far enough where the gradient keeps its sign. Whether it does is tried.

The vectors follow arXiv 2602.14687: sums of unit directions, more than channels; how often each is on falls as one over
the root of its rank; which are on together follows a Gaussian copula of low rank; lengths vary by a tenth; and noise. A
pool of them is drawn once and read again and again. Prints, along the run: explained variance on vectors held out, dead
latents, mean cosine to the start, share whose own start is the nearest, and the share of the directions that some
concept vector has with a cosine above 0.9, weighted by how often they are on.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.leaving_the_start import from_start
from sae.members import Member, Stack
from sae.metrics import evaluate_all
from sae.settings import SAESettings
from sae.step import TrainState, train_step
from sae.train import learning_rate

PAPER = SAESettings(k=(10,), lr=1e-4, batch_size=4096, vectors=12_800_000)
POINTS = (0.02, 0.1, 0.25, 0.5, 0.8, 1.0)
RANK, ON = 32, 12.0  # rank of the copula; directions that are on in a vector, on average


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d", type=int, default=1280)
    parser.add_argument("--lr", type=float, nargs="+", default=[1e-4, 1e-3])
    parser.add_argument("--vectors", type=int, default=PAPER.vectors)
    parser.add_argument("--pool", type=int, default=200_000)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    directions_FD, chance_F = known_directions(2 * 4 * options.d, options.d)
    directions_FD = directions_FD.to(options.device)
    pool_ND = vectors(directions_FD, chance_F, options.pool, seed=1)
    held_ND = vectors(directions_FD, chance_F, 8192, seed=2)
    mean_D, scale = pool_ND.mean(0), float(pool_ND.var(0).mean().sqrt())
    print("| lr | step | seconds | explained variance | dead | cosine to the start | own nearest | directions found |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for lr in options.lr:
        settings = PAPER.model_copy(update={"lr": lr, "vectors": options.vectors})
        run((pool_ND - mean_D) / scale, (held_ND - mean_D) / scale, settings, directions_FD, chance_F)


def known_directions(n: int, d: int) -> tuple[Tensor, np.ndarray]:
    """Unit directions float32 [F, D], and how often each is on, [F], falling by rank."""
    directions = torch.randn(n, d, generator=torch.Generator().manual_seed(999))  # no seed of a dictionary
    chance_F = 1 / np.arange(1, n + 1) ** 0.5
    return directions / directions.norm(dim=1, keepdim=True), np.minimum(ON * chance_F / chance_F.sum(), 0.5)


def vectors(directions_FD: Tensor, chance_F: np.ndarray, count: int, seed: int, at_once: int = 4096) -> Tensor:
    """float32 [count, D], drawn where the directions are: another device draws others, of the same distribution."""
    from scipy.stats import norm

    device = directions_FD.device
    drawn = partial(torch.randn, generator=torch.Generator(device).manual_seed(seed), device=device)
    features = len(directions_FD)
    loadings_FR = 0.3 * torch.randn(features, RANK, generator=torch.Generator().manual_seed(3)) / RANK**0.5
    own_F = (1 - loadings_FR.square().sum(1)).sqrt().to(device)
    above_F = torch.from_numpy(norm.isf(chance_F)).float().to(device)
    loadings_FR = loadings_FR.to(device)
    parts = []
    for first in range(0, count, at_once):
        size = min(at_once, count - first)
        on = drawn(size, RANK) @ loadings_FR.T + own_F * drawn(size, features) > above_F
        lengths = on * (1 + 0.1 * drawn(size, features))
        parts.append(lengths @ directions_FD + 0.02 * drawn(size, directions_FD.shape[1]))
    return torch.cat(parts)


def run(pool_ND: Tensor, held_ND: Tensor, settings: SAESettings, directions_FD: Tensor, chance_F: np.ndarray) -> None:
    """Train one SAE on the pool, pass after pass, and print a line at each point."""
    d, device, batch = pool_ND.shape[1], pool_ND.device, settings.batch_size
    stack = Stack(d, [Member(10, 4 * d, 0)], device)
    state, started = TrainState(stack, settings), time.perf_counter()
    total, generator = settings.steps(len(pool_ND) // batch), torch.Generator().manual_seed(4)
    marks = {max(1, round(share * total)) for share in POINTS}
    for step in range(total):
        at = torch.randint(len(pool_ND), (batch,), generator=generator)
        train_step(state, pool_ND[at.to(device)], settings, learning_rate(settings, step, total))
        if step + 1 in marks:
            seconds = time.perf_counter() - started
            print(
                f"| {settings.lr:g} | {step + 1} | {seconds:.0f} | {figures(stack, held_ND, directions_FD, chance_F)} |"
            )


@torch.no_grad()
def figures(stack: Stack, held_ND: Tensor, directions_FD: Tensor, chance_F: np.ndarray) -> str:
    """Explained variance, dead, cosine to the start, own start nearest, directions found."""
    sae = stack.member(0)
    (metrics,) = evaluate_all([sae], [held_ND.cpu().numpy()], str(held_ND.device))
    rows_MD = sae.concept_vectors()
    cosine, nearest = from_start(rows_MD.cpu(), stack.start.cpu())
    found_F = ((directions_FD @ rows_MD.to(directions_FD.device).T).amax(1) > 0.9).cpu().numpy()
    parts = (
        f"{100 * metrics.explained_variance:.1f} %",
        f"{100 * metrics.dead_fraction:.1f} %",
        f"{cosine:.2f}",
        f"{100 * nearest:.0f} %",
    )
    return " | ".join([*parts, f"{100 * np.average(found_F, weights=chance_F):.1f} %"])


if __name__ == "__main__":
    main()
