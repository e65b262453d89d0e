"""Our SAE trainer beside SAELens, sparsify, dictionary_learning and overcomplete: speed, and what was learned.

    sh benchmarks/peers/setup.sh ENVIRONMENTS
    python -m benchmarks.sae_peers ENVIRONMENTS [--d 1280 --n 5120 --k 20 --batch 4096 --steps 8 --rounds 3]
    python -m benchmarks.sae_peers ENVIRONMENTS --study runs/mini --n 512 --k 10 --batch 512 --steps 4000 --lr 1e-3

Every package trains on the same batches in the same order, in an environment of its own, one after the other, in turn
for ``--rounds`` rounds; the median speed counts. Data: sparse sums of random directions, or a site of a study. All
processes run with freed memory kept (see ``sae/memory.py``), which peers do not do by themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

PEERS = Path(__file__).resolve().parent / "peers"
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
# name shown -> (environment, script, flags)
CONTESTANTS: dict[str, tuple[str, str, list[str]]] = {
    "concept-atlas, bfloat16": ("", "concept_atlas.py", ["--autocast"]),
    "concept-atlas, float32": ("", "concept_atlas.py", []),
    "sparsify": ("sparsify", "sparsify.py", []),
    "SAELens": ("saelens", "saelens.py", []),
    "SAELens, bfloat16 autocast": ("saelens", "saelens.py", ["--autocast"]),
    "SAELens, sparse activations": ("saelens", "saelens.py", ["--sparse"]),
    "dictionary_learning": ("dictionary_learning", "dictionary_learning.py", []),
    "overcomplete": ("overcomplete", "overcomplete.py", []),
    "overcomplete, bfloat16 autocast": ("overcomplete", "overcomplete.py", ["--autocast"]),
}


def main() -> None:
    """Command line of the module."""
    options = parser().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        train, held_out = write_data(options, Path(folder))
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTESTANTS}
        for round_ in range(options.rounds):
            for name in CONTESTANTS:
                results[name].append(run_one(name, train, held_out, Path(folder) / "result.json", options))
                print(f"round {round_}: {name}: {results[name][-1]['ms_per_step']:.0f} ms/step", file=sys.stderr)
    print(table(results, options))
    if options.out:
        options.out.write_text(json.dumps(results, indent=1))


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("environments", type=Path, help="the folder that setup.sh filled")
    made.add_argument("--d", type=int, default=1280)
    made.add_argument("--n", type=int, default=5120)
    made.add_argument("--k", type=int, default=20)
    made.add_argument("--batch", type=int, default=4096)
    made.add_argument("--steps", type=int, default=8)
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--lr", type=float, default=1e-4)
    made.add_argument("--dead-after", type=int, default=10_000_000)
    made.add_argument("--threads", type=int, default=os.cpu_count())
    made.add_argument("--device", default="cpu")
    made.add_argument("--study", type=Path, help="take the vectors from a study folder")
    made.add_argument("--site", default="mid/0.00/cond", help="the site of --study")
    made.add_argument("--out", type=Path, help="JSON file with every run")
    return made


def write_data(options: argparse.Namespace, folder: Path) -> tuple[Path, Path]:
    """Shuffled, centred, scaled float16 vectors: a training file and a held-out one."""
    x_ND = site_vectors(options) if options.study else synthetic_vectors(options.d, 8 * options.batch)
    x_ND = x_ND[torch.randperm(len(x_ND), generator=torch.Generator().manual_seed(1))]
    x_ND = x_ND - x_ND.mean(0)
    x_ND = x_ND / x_ND.square().mean().sqrt()
    cut = len(x_ND) // 4
    for name, part in (("train", x_ND[cut:]), ("heldout", x_ND[:cut])):
        np.save(folder / f"{name}.npy", part.half().numpy())
    return folder / "train.npy", folder / "heldout.npy"


def synthetic_vectors(d: int, count: int) -> torch.Tensor:
    """Each vector: 24 of 4 d unit directions, chosen with a heavy tail, with strengths from 0.5 to 2, and noise."""
    generator = torch.Generator().manual_seed(987_654)  # not a seed of an SAE: it would be born with the answer
    directions = torch.nn.functional.normalize(torch.randn(4 * d, d, generator=generator), dim=1)
    chosen = (4 * d * torch.rand(count, 24, generator=generator) ** 2).long()
    strengths = 0.5 + 1.5 * torch.rand(count, 24, generator=generator)
    x_ND = torch.nn.functional.embedding_bag(chosen, directions, per_sample_weights=strengths, mode="sum")
    return x_ND + 0.02 * torch.randn(count, d, generator=generator)


def site_vectors(options: argparse.Namespace) -> torch.Tensor:
    """Every position of every prompt of a site."""
    from storage.activations import ActivationStore

    store = ActivationStore.open(options.study)
    block, t, conditioning = options.site.split("/")
    maps = store.read((block, float(t), conditioning), 0, store.n_prompts)
    return torch.from_numpy(maps.astype(np.float32)).reshape(-1, maps.shape[-1])


def run_one(name: str, train: Path, held_out: Path, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train with one package in its environment; raises with its output when it fails."""
    environment, script, flags = CONTESTANTS[name]
    python = str(options.environments / environment / "bin" / "python") if environment else sys.executable
    command = [
        python,
        str(PEERS / script),
        "--train",
        str(train),
        "--heldout",
        str(held_out),
        "--out",
        str(out),
        *flags,
    ]
    for key in ("n", "k", "batch", "steps", "lr", "threads", "device", "dead_after"):
        command += [f"--{key.replace('_', '-')}", str(getattr(options, key))]
    command += ["--warmup", "2", "--preload"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **KEEP_MEMORY})
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(out.read_text())


def table(results: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> str:
    """Markdown: median speed, its ratio to ours in float32, what the last round learned."""
    speed = {name: statistics.median(run["vectors_per_s"] for run in runs) for name, runs in results.items()}
    best_peer = max(value for name, value in speed.items() if not name.startswith("concept-atlas"))
    sizes = f"d={results['sparsify'][0]['settings']['set'].get('d', options.d)}, n={options.n}, k={options.k}"
    lines = [
        f"{sizes}, batch {options.batch}, {options.steps} steps, {options.threads} threads, torch {torch.__version__}",
        "",
        "| package | vectors/s | times the best peer | ms a step | explained variance, % | dead, % |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, runs in results.items():
        last = runs[-1]
        ms = statistics.median(run["ms_per_step"] for run in runs)
        lines.append(
            f"| {name} | {speed[name]:,.0f} | {speed[name] / best_peer:.2f} | {ms:.0f} | "
            f"{100 * last['explained_variance']:.1f} | {100 * last['dead_fraction']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
