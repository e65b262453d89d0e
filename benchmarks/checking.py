"""What it costs that everything is checked when it is read, and how long `concepts verify` takes at full size.

    python -m benchmarks.checking --root runs/mini

CPU seconds of one process, with checks and without them in turn, the least of ``--rounds`` each: a process that reads
a part for the first time hashes it, later reads do not. ``label`` labels one dictionary of the (copied) study. Last,
the records of ``--shards`` shards are made, with small parts, and verified.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pyarrow.dataset as ds
import torch

from sae.io import load_sae
from storage import tables, vouch
from storage.publish import publish_unit
from storage.study import create_study
from storage.tables import named_parts, read_table
from study import at, store
from study import publish as shard_parts
from study.opening import recorded_study
from study.paths import sae_units
from study.study import Study
from study.verify import inspect_study
from tasks.label import label_concepts


def let_pass(*_: object) -> None:
    """In the place of ``storage.vouch.check``; a mock would keep every call."""


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Neither digests nor page checksums are compared."""
    with contextlib.ExitStack() as stack:
        for module in (tables, shard_parts, store):
            stack.enter_context(mock.patch.object(module, "check", let_pass))
        stack.enter_context(mock.patch.object(tables, "FORMAT", ds.ParquetFileFormat()))
        stack.enter_context(mock.patch.object(at, "load_sae", lambda folder, _: load_sae(folder)))
        yield


def cpu_seconds(job: Callable[[], object]) -> float:
    """Of one call."""
    started = time.process_time()
    job()
    return time.process_time() - started


def compared(name: str, job: Callable[[], object], rounds: int) -> None:
    """Print CPU milliseconds without checks, with those of a first read, and with those of a later one."""
    times: dict[str, list[float]] = {"without": [], "first": [], "later": []}
    job()
    for _ in range(rounds):
        with unchecked():
            times["without"].append(cpu_seconds(job))
        vouch._known.clear()
        times["first"].append(cpu_seconds(job))
        times["later"].append(cpu_seconds(job))
    least = {kind: 1000 * min(found) for kind, found in times.items()}
    ratios = [least[kind] / least["without"] for kind in ("first", "later")]
    print(f"| {name} | {least['without']:.0f} | {least['first']:.0f} ({ratios[0]:.2f}) | "
          f"{least['later']:.0f} ({ratios[1]:.2f}) |", flush=True)  # fmt: skip


def label(study: Study) -> None:
    """Label one dictionary."""
    label_concepts(study, *sae_units(study)[0])


def many_shards(root: Path, shards: int) -> None:
    """Records and parts of so many shards, small ones: what counts is how many there are."""
    create_study(root, {"name": "shards"}, {})
    row = {"prompt_id": 0, "label": "tree", "score": 0.5, "tagger": "mini"}
    for shard in range(shards):
        publish_unit(root, "tag", f"{shard:06d}", {"tags": [{**row, "prompt_id": shard}]}, f"{shard:06d}", "h")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="a finished study; it is copied")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shards", type=int, default=10_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "study"
        shutil.copytree(options.root, root)
        study = recorded_study(root)
        print("| job, CPU ms | without checks | first read (ratio) | later reads (ratio) |\n| --- | --- | --- | --- |")
        for table in ("images", "label_cells", "concept_labels"):
            size = sum(path.stat().st_size for path in named_parts(root, table)) / 1e6
            compared(f"all of `{table}`, {size:.1f} MB", lambda table=table: read_table(root, table), options.rounds)
        site, k = sae_units(study)[0]
        size = sum(f.stat().st_size for f in study.at(site, k).folder_of("trained").glob("*.*")) / 1e6
        compared(f"weights of an SAE, {size:.1f} MB", lambda: study.at(site, k).sae(), options.rounds)
        compared("label one dictionary", lambda: label(study), options.rounds)
        started, used = time.perf_counter(), time.process_time()
        report = inspect_study(root)
        spent = time.perf_counter() - started, time.process_time() - used
        print(f"verify the study: {spent[0]:.2f} s, {spent[1]:.2f} s of CPU, {len(report.records)} records")
        many = Path(scratch) / "many"
        many_shards(many, options.shards)
        started, used = time.perf_counter(), time.process_time()
        report = inspect_study(many)
        spent = time.perf_counter() - started, time.process_time() - used
        print(f"verify {options.shards} shards' parts: {spent[0]:.2f} s, {spent[1]:.2f} s of CPU")


if __name__ == "__main__":
    main()
