"""What 10,000 shards cost beside the work on them: planning, finding what is left to do, ``concepts status``.

    python -m benchmarks.many_shards                    # a minute or two; makes a folder of 400 MB and removes it
    python -m benchmarks.many_shards --shards 1000 --keep runs/many

Nothing is sampled. The study is ``configs/tiny.yaml`` with a prompt a shard; its prompts are planned for real, from
captions that this script writes. Then every shard gets the files and records that collecting and segmenting leave, with
the contents of one of them; a fifth has the records of segmenting, as a study whose dictionary split is a fifth.
Seconds are given by the clock and of the processor: on a busy machine the second is the better guide.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.processor import children_seconds, own_seconds
from storage.records import write_record
from storage.schemas import SCHEMAS
from storage.store_metadata import store_path
from storage.tables import store_part
from study.config import StudyConfig, load_config
from study.opening import open_or_create
from study.stages import STAGES, stages_of
from study.study import Study
from study.undone import undone
from tasks.units import works_of

REPO = Path(__file__).resolve().parent.parent
TINY = REPO / "configs" / "tiny.yaml"
SEGMENTING = ("tag", "detect", "segment", "areas")
SHARES = {"train": 0.7, "dictionary": 0.15, "layout": 0.05, "style": 0.1}  # the middle two are segmented


def timed(what: str, work: Callable[[], Any]) -> Any:
    """What ``work`` returns, after printing how long it took by the clock and of this process and its children."""
    began, before = time.perf_counter(), _processor()
    made = work()
    print(f"{what:<54} {time.perf_counter() - began:6.2f} s, {_processor() - before:6.2f} s of a processor", flush=True)
    return made


def _processor() -> float:
    return own_seconds() + children_seconds()


def settings(folder: Path, shards: int) -> StudyConfig:
    """The tiny study with a shard a prompt, from captions of its own."""
    captions = folder / "captions.parquet"
    words = [f"a red house beside a tree in the grass, picture {number}" for number in range(shards)]
    pq.write_table(pa.table({"top_caption": words}), captions)
    sizes = {split: round(share * shards) for split, share in SHARES.items()}
    splits = [f"prompts.splits.{name}={size}" for name, size in sizes.items()]
    return load_config(
        TINY, [f"prompts.source={captions}", "prompts.shard_size=1", "prompts.max_punsafe=null", *splits]
    )


def fill(study: Study, without_flush: bool = True) -> None:
    """Give every shard what collecting and segmenting leave behind, all alike."""
    if without_flush:
        os.fsync = lambda _descriptor: None  # what is not to outlast a power cut need not wait for the disk
    store = store_path(study.root)
    shard_bytes = os.urandom(64 * 64 * 2)
    for stage in ("collect", *SEGMENTING):
        tables = {table: _one_part(study, stage, table) for table in STAGES[stage].tables}
        for unit in STAGES[stage].units(study):
            _finish(study, stage, unit, tables)
            for site in study.config.sites_list() if stage == "collect" else ():
                file = store / site.path / "c" / str(int(unit)) / "0" / "0" / "0"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(shard_bytes)


def _one_part(study: Study, stage: str, table: str) -> tuple[bytes, dict[str, Any]]:
    """The bytes of an empty part, and what its record says."""
    facts = store_part(study.root, table, "one", SCHEMAS[table].empty_table())
    file = Path(study.root) / "tables" / table / "one.parquet"
    data = file.read_bytes()
    file.unlink()
    return data, facts


def _finish(study: Study, stage: str, unit: str, tables: dict[str, tuple[bytes, dict[str, Any]]]) -> None:
    for table, (data, _) in tables.items():
        (Path(study.root) / "tables" / table / f"{unit}.parquet").write_bytes(data)
    named = {table: {**facts, "part": unit} for table, (_, facts) in tables.items()}
    payload: dict[str, Any] = {"tables": named, "files": {}}
    if stage == "collect":
        payload |= {"rows": 1, "prompts": "0" * 64, "checksums": {s.path: "0" * 64 for s in study.config.sites_list()}}
    write_record(study.root, stage, unit, payload, study.hash_of(stage))


def to_do(study: Study) -> int:
    """How many units the whole study has left, as every flow counts them before it begins."""
    left = 0
    for stage in stages_of("run"):
        units = [unit for work in works_of(study, stage) for unit in work.units]
        left += len(undone(study, stage, units))
    return left


def status(root: str) -> None:
    """The whole command."""
    subprocess.run([sys.executable, "-m", "flows.cli", "status", root], cwd=REPO, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Make the study, time what is asked, and remove it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="make the study in this folder, and leave it there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="many-shards-") as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        measure(folder, options.shards)


def measure(folder: Path, shards: int) -> None:
    """Print what each job takes."""
    from tasks.collect import plan  # imports the model libraries, which is not what is timed

    config, root = settings(folder, shards), str(folder / "study")
    study = open_or_create(root, config)
    timed(f"plan: {shards} prompts drawn, the store made", lambda: plan(study))
    left = timed("what is left to do, with nothing done", lambda: to_do(study))
    timed("status, with nothing done", lambda: status(root))
    timed("(making what the shards leave behind)", lambda: fill(study))
    rest = timed(f"what is left to do, with {shards} shards done", lambda: to_do(study))
    print(f"units: {left} at first, {rest} at last")
    timed(f"status, with {shards} shards done", lambda: status(root))


if __name__ == "__main__":
    main()
