"""Every stage on the architecture of Stable Diffusion v1.4 with random weights: does it run, and what does it cost?

    python -m benchmarks.full_size                     # on a CPU: two cores need about half an hour and 12 GB
    python -m benchmarks.full_size --device cuda       # on a GPU: all sites, then what no CPU can check; 8 minutes
    python -m benchmarks.full_size --device cuda --times 1.0 0.0 --conditionings cond --only-study    # six of 18 sites

Builds the model (2.1 GB), writes captions and a study's YAML from ``configs/sd14.yaml`` with few prompts and steps,
runs collect, train, label, layout and intervene through the command line, and prints the time and memory of each, and
the bytes of each table, a prompt or a dictionary. A tiling plug-in stands for detector and segmenter, since random
weights find nothing; the images mean nothing either. Exits with 1 if a result is wrong (``check_study`` says what is
asked, ``benchmarks/full_size_gpu.py`` for a GPU).
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

from benchmarks import tiles
from benchmarks.environment import REPO, environment_of
from benchmarks.random_model import build_model
from flows.server import prefect_server
from storage.activations import ActivationStore
from storage.schemas import KEYS, SCHEMAS
from storage.tables import count_rows, parts
from study.stages import stages_of
from study.units import FIRST_IMAGES
from study.verify import verify

STAGES = ("collect", "train", "label", "layout", "intervene")
OBJECTS, STYLES = ("tree", "house"), ("night",)
WINDOWS = {"early": (0.6, 1.0, 1.0), "middle": (0.2, 0.6, 0.5), "final": (0.0, 0.2, 0.0)}  # start, end, the concepts' t
FULL_PROMPTS = 246_000
GRID = 64  # vectors of a prompt at the smallest grid, 8 x 8


@dataclass(frozen=True)
class Scale:
    """How much of the full setting one run takes."""

    splits: dict[str, int]
    steps: int
    times: tuple[float, ...]
    conditionings: tuple[str, ...]
    shard_size: int
    dtype: str
    batch_size: int
    k: tuple[int, ...]
    windows: tuple[str, ...]
    targets: dict[str, Any]


SCALES = {
    "cpu": Scale(
        {"train": 2, "dictionary": 2, "layout": 2, "style": 1},
        2,
        (1.0, 0.0),
        ("cond",),
        2,
        "float32",
        2,
        (10, 20),
        ("final",),  # whose edits share all steps but the last
        {"objects": list(OBJECTS[:1]), "spatial_block": "mid", "global_block": "up"},  # a trace would take an hour
    ),
    "cuda": Scale(
        {"train": 64, "dictionary": 32, "layout": 24, "style": 8},
        10,
        (1.0, 0.5, 0.0),
        ("cond", "uncond"),
        16,
        "float16",
        16,
        (10,),
        ("early", "middle", "final"),
        {"objects": list(OBJECTS)},  # their blocks are left to a trace
    ),
}


@dataclass
class Cost:
    """Seconds by the clock and of CPU time, and peak GB of memory, of one stage."""

    wall: float
    cpu: float
    memory: float
    gpu: float = 0.0
    problems: list[str] = field(default_factory=list)


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--work", type=Path, help="folder for model and study; a temporary one by default")
    parser.add_argument("--peers", type=Path, help="folder of benchmarks/peers/setup.sh: also times sparsify's step")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--skip-study", action="store_true", help="with --device cuda: only the checks of the GPU")
    part.add_argument("--only-study", action="store_true", help="with --device cuda: without the checks of the GPU")
    parser.add_argument("--times", type=float, nargs="+", help="other times than the device's own choice")
    parser.add_argument("--conditionings", choices=("cond", "uncond"), nargs="+", help="likewise")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no GPU here; without the flag the script runs on the CPU")
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {where}", flush=True)
    with _work_folder(options.work) as work:
        if not (work / "model" / "model_index.json").exists():
            build_model(work / "model")
        problems = [] if options.skip_study else run_study(work, options.device, chosen_scale(options))
        if options.device == "cuda" and not options.only_study:
            from benchmarks.full_size_gpu import check_gpu

            problems += check_gpu(work / "model", options.peers)
    for problem in problems:
        print(f"WRONG: {problem}")
    print("every check held" if not problems else f"{len(problems)} checks failed")
    raise SystemExit(1 if problems else 0)


@contextmanager
def _work_folder(given: Path | None) -> Iterator[Path]:
    if given:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="full-size-") as folder:
        yield Path(folder)


def chosen_scale(options: argparse.Namespace) -> Scale:
    """The device's own scale with the times and conditionings that were named, and the windows that hold a time."""
    scale = SCALES[options.device]
    times = tuple(options.times or scale.times)
    kept = tuple(name for name in scale.windows if WINDOWS[name][2] in times)
    return replace(scale, times=times, windows=kept, conditionings=tuple(options.conditionings or scale.conditionings))


def run_study(work: Path, device: str, scale: Scale) -> list[str]:
    """Run every stage, print its costs, and return what is wrong."""
    root = work / "study"
    if root.exists():
        raise SystemExit(f"{root} holds an earlier run: give another --work")
    config = write_config(work, scale, device)
    with prefect_server() as url:
        environment = environment_of(REPO, work / "plugin", url=url)
        costs = {}
        for stage in STAGES:
            costs[stage] = _run_stage(stage, config, root, environment, device)
            shown = costs[stage]
            print(
                f"{stage:<10} {shown.wall:7.1f} s  {shown.cpu:8.1f} s of CPU time  {shown.memory:6.2f} GB"
                + (f"  {shown.gpu:6.2f} GB on the GPU" if device == "cuda" else ""),
                flush=True,
            )
            if shown.problems:
                return shown.problems
    print_sizes(root, scale)
    return check_study(root)


def write_config(work: Path, scale: Scale, device: str) -> Path:
    """The study's YAML: ``configs/sd14.yaml`` but for the model, the captions, the plug-in and the size of the run."""
    tiles.install(work / "plugin")
    write_captions(work / "captions.parquet", scale)
    config: dict[str, Any] = yaml.safe_load((REPO / "configs" / "sd14.yaml").read_text())
    config["name"] = "full-size"
    config["model"] = {"path": str(work / "model"), "dtype": scale.dtype, "device": device}
    config["sampling"] |= {"steps": scale.steps, "batch_size": scale.batch_size}
    config["sites"] |= {"times": list(scale.times), "conditionings": list(scale.conditionings)}
    config["prompts"] |= {
        "source": str(work / "captions.parquet"),
        "splits": scale.splits,
        "shard_size": scale.shard_size,
    }
    config["sae"] |= {"k": list(scale.k), "batch_size": min(4096, GRID * scale.splits["train"])}
    config["vision"] = {"backend": "tiles", "vocabulary": [*OBJECTS, *STYLES]}
    config["labels"] = {"assign_images": 1, "assign_fdr": 1.0, "assign_iou": 0.0, "keep_iou": 0.0, "assign_lift": 1.0}
    config["layout"] = {"min_images": 2, "bootstrap": 100}
    config["interventions"] = {
        "windows": {name: list(WINDOWS[name]) for name in scale.windows},
        **scale.targets,
        "styles": list(STYLES),
        "prompts_per_target": 1,
        "spatial_strengths": [4.0],
        "global_strengths": [4.0],
        "bootstrap": 100,
    }
    path = work / "study-config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def write_captions(path: Path, scale: Scale) -> None:
    """LAION-COCO's columns. Every caption names both objects; those of dictionary and layout the style, too."""
    captions = []
    for split, count in scale.splits.items():
        opening = f"{STYLES[0]} , " if split in ("dictionary", "layout") else ""
        first = len(captions)
        captions += [f"{opening}a tree and a house , number {i}" for i in range(first, first + count)]
    pq.write_table(pa.table({"top_caption": captions, "punsafe": [0.0] * len(captions)}), path)


def _run_stage(stage: str, config: Path, root: Path, environment: dict[str, str], device: str) -> Cost:
    command = [sys.executable, "-m", "flows.cli", stage, str(config), "--root", str(root)]
    started = time.perf_counter()
    with _gpu_watched(device) as seen, tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=REPO, env=environment, stdout=log, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        said = log.read()
    wall = time.perf_counter() - started
    problems = [f"{stage} ended with {process.returncode}: {said[-2000:]}"] if process.returncode else []
    return Cost(wall, used.ru_utime + used.ru_stime, _gigabytes(used), max(seen, default=0) / 1e9, problems)


def _gigabytes(used: resource.struct_rusage) -> float:
    return used.ru_maxrss * 1024 / 1e9


@contextmanager
def _gpu_watched(device: str) -> Iterator[list[int]]:
    """Bytes in use on the GPU by all processes, looked at five times a second while the context is open."""
    seen: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            free, total = torch.cuda.mem_get_info()
            seen.append(total - free)

    if device == "cuda":
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield seen
    finally:
        ended.set()


def print_sizes(root: Path, scale: Scale) -> None:
    """Bytes of the store and of every table, for each prompt or dictionary, and for the paper's full setting."""
    store = ActivationStore.open(root)
    raw = {block: 2 * int(np.prod(store.shape((block, t, c)))) for block, t, c in store.sites}
    all_sites = 6 * sum(raw.values())  # three times, two conditionings
    on_disk = sum(f.stat().st_size for f in store.path.rglob("*") if f.is_file())
    held = sum(raw[block] for block, _, _ in store.sites) * store.n_shards * store.shard_size  # the last one is padded
    print(f"\nactivations: {all_sites:,} bytes a prompt at 18 sites, {all_sites * FULL_PROMPTS / 1e12:.2f} TB for")
    print(f"{FULL_PROMPTS:,} prompts; on disk {on_disk / held:.3f} times the raw bytes")
    saes = sum(f.stat().st_size for f in (root / "saes").rglob("*") if f.is_file())
    dictionaries = len(store.sites) * len(scale.k)
    print(f"SAEs: {saes / dictionaries / 1e6:.0f} MB a dictionary, controls included")
    print(f"\n{'table':<22} {'rows':>9} {'bytes':>12}  bytes a prompt, or a dictionary")
    for table in SCHEMAS:
        size, rows = sum(f.stat().st_size for f in parts(root, table)), count_rows(root, table)
        if rows:
            by_prompt = KEYS[table][0] == "prompt_id" and table != "interventions"
            share = size / (_prompts_of(table, scale) if by_prompt else dictionaries)
            print(f"{table:<22} {rows:>9} {size:>12,}  {share:>12,.0f} a {'prompt' if by_prompt else 'dictionary'}")


def _prompts_of(table: str, scale: Scale) -> int:
    """Prompts that have rows in a table that has rows for each prompt."""
    if table == "images":  # but for the first ones, those of the train split are not kept
        return sum(scale.splits.values()) - max(scale.splits["train"] - FIRST_IMAGES, 0)
    return sum(scale.splits.values()) if table == "prompts" else scale.splits["dictionary"] + scale.splits["layout"]


def check_study(root: Path) -> list[str]:
    """What is wrong with the finished study; empty if nothing is."""
    problems = [f"verify: {problem}" for problem in verify(root)]
    store = ActivationStore.open(root)
    for site in store.sites:
        first = store.read(site, 0, 2).astype(np.float32)
        if not np.isfinite(first).all() or np.allclose(first[0], first[1]):
            problems.append(f"activations at {site} are not finite, or equal for two prompts")
    made = {"runs"}.union(*(stage.tables for stage in stages_of("run")))
    filled = made - {
        "shared_concepts",
        "concept_matches",
        "calibrations",
        "attention_maps",
        "traced_blocks",
    }  # if asked
    problems += [f"table {table} has no rows" for table in sorted(filled) if not count_rows(root, table)]
    edited = _edited(root)
    changed = {row["kind"] for row in edited if row["outside_change"] > 0}
    problems += [f"no {kind} edit changed its image" for kind in ("spatial", "global") if kind not in changed]
    if any(row["outside_change"] != 0 for row in edited if row["control"] == "unedited"):
        problems.append("an unedited image differs from itself")
    return problems


def _edited(root: Path) -> list[dict[str, Any]]:
    columns = ["kind", "control", "outside_change"]
    return [row for part in parts(root, "interventions") for row in pq.read_table(part, columns=columns).to_pylist()]


if __name__ == "__main__":
    main()
