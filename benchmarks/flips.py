"""Flip bytes over every kind of file of a finished study: each must be found, none used, all repaired.

    python -m benchmarks.flips configs/tiny.yaml --root runs/tiny --flips 500 --at-once 50

The study is copied first. A flip is undone when ``concepts verify`` has named its file and the reader of such files has
refused it (or read the same). Then ``--at-once`` flips at a time stay in, ``concepts repair`` and ``concepts run``
follow, and every table's content hash and every byte that a record vouches for must be what it was. Exits 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sae.source import load_statistics
from storage.inspect import table_hashes
from storage.records import SELF, parsed_record
from storage.site import AnySite
from storage.study import read_study
from storage.tables import read_table
from study.opening import recorded_study
from study.repair import plan_repair, repair
from study.saes import HELD, SHARED, TRAINED
from study.store import store_of
from study.study import Study
from study.verify import inspect_study

SKIPPED = (".lock",)  # who holds the folder: not a result
RUNS = ("tables/runs/", "done/runs/")
PLANNED = "done/plan/prompts.json"


def kind_of(name: str) -> str:
    """Which kind of file a path below the root is."""
    parts = name.split("/")
    top, last = parts[0], parts[-1]
    if top == "tables":
        return f"table {parts[1]}"
    if top == "activations.zarr":
        return "store metadata" if last == "zarr.json" else "store shard"
    if top == "done":
        return f"record {parts[1]}"
    return last if top == "saes" and not last.startswith("step-") else {"saes": "checkpoint"}.get(top, top)


def files_by_kind(root: Path) -> dict[str, list[str]]:
    """Every file below the root that holds a byte, by kind."""
    found: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and path.stat().st_size and name not in SKIPPED:
            found.setdefault(kind_of(name), []).append(name)
    return found


def draw_flips(root: Path, count: int, seed: int) -> list[tuple[str, int, int]]:
    """(file, position, bit), the kinds of files taken in turn so that small ones get their share."""
    rng, kinds = random.Random(seed), files_by_kind(root)
    names = sorted(kinds)
    chosen = [rng.choice(kinds[names[i % len(names)]]) for i in range(count)]
    return [(name, rng.randrange((root / name).stat().st_size), 1 << rng.randrange(8)) for name in chosen]


def flip(root: Path, name: str, at: int, bit: int) -> None:
    """Turn one bit of a file; a second time turns it back."""
    data = bytearray((root / name).read_bytes())
    data[at] ^= bit
    (root / name).write_bytes(data)


def reader_of(study: Study, name: str) -> Callable[[], Any] | None:
    """What ``concepts run`` reads such a file with, as a function of its content; None for what no stage reads."""
    root, parts = Path(study.root), name.split("/")
    if parts[0] == "tables":
        return lambda: read_table(root, parts[1]).to_pylist()
    if parts[0] == "study.yaml":
        return lambda: read_study(root)
    if parts[0] == "done":
        return lambda: parsed_record(root / name)
    if parts[0] == "activations.zarr":
        if parts[-1] == "zarr.json":
            return lambda: store_of(study).facts
        site, shard = (parts[1], float(parts[2]), parts[3]), int(parts[5])
        return lambda: store_of(study).read(site, *store_of(study).shard_range(shard)).tobytes()
    if parts[-1] in ("sae_weights.safetensors", "cfg.json"):
        return lambda: _weights(study, (parts[1], float(parts[2]), parts[3]), parts[4:-1])
    if parts[-1] == "statistics.safetensors":
        return lambda: _statistics(root / name)
    return None


def _weights(study: Study, site: AnySite, below: list[str]) -> Any:
    k, below = int(below[0][1:]), below[1:]
    seed = int(below.pop().removeprefix("seed")) if below and below[-1].startswith("seed") else None
    kind = below[0] if below else TRAINED
    if kind not in ("untrained", *HELD, SHARED, TRAINED):
        return None  # of a further width: no stage reads it
    return {key: value.tolist() for key, value in study.at(site, k).sae(kind, seed).state_dict().items()}


def _statistics(path: Path) -> Any:
    found = load_statistics(path)
    if found is None:
        raise ValueError("measured again")
    return found.mean.tolist(), found.scale, found.n_vectors


def outcome(root: Path, study: Study, one: tuple[str, int, int], before: Any) -> list[str]:
    """What went wrong with one flip: not found, or read as something else than ``before``."""
    name = one[0]
    flip(root, *one)
    try:
        problems = []
        if not any(damage.path == name for damage in inspect_study(root).damage):
            problems.append(f"{one}: not found by verify")
        read = reader_of(study, name)
        try:
            after = before if read is None else read()
        except (ValueError, OSError):
            return problems
        return problems if after == before else [*problems, f"{one}: other content was read without a word"]
    finally:
        flip(root, *one)


def try_flips(root: Path, flips: list[tuple[str, int, int]]) -> list[str]:
    """Every flip on its own, undone before the next."""
    study = recorded_study(root)
    problems = []
    for one in flips:
        read = reader_of(study, one[0])
        problems += outcome(root, study, one, None if read is None else read())
    return problems


def repaired(root: Path, flips: list[tuple[str, int, int]], command: list[str]) -> list[str]:
    """All flips at once, a repair and a run; returns what is not as it was. ``command`` runs the study.

    A row of ``runs`` cannot be made again: one that an earlier repair dropped has no file to flip any more.
    """
    flips = [one for one in flips if (root / one[0]).exists() or not one[0].startswith(RUNS)]
    if any(name == "study.yaml" for name, _, _ in flips):  # which cannot be told with its only copy damaged, too
        flips = [one for one in flips if kind_of(one[0]) != "record study"]
    hashes, files = table_hashes(root), _contents(root)
    for one in flips:
        flip(root, *one)
    repair(root, plan_repair(root))
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return [f"after a repair the study could not be run: {done.stderr[-1500:]}"]
    other = [f"table {table}" for table, digest in table_hashes(root).items() if hashes[table] != digest]
    other += [name for name, data in _contents(root).items() if files.get(name, data) != data]
    # A damaged checkpoint is removed; of an SAE that is trained it is not made again.
    lost = set(files) - set(_contents(root))
    other += [f"{name} (gone)" for name in lost if "checkpoint" not in name]
    return other + [str(damage) for damage in inspect_study(root).damage]


def _contents(root: Path) -> dict[str, bytes]:
    """All that should come back to the byte: not study.yaml's seal and not the rows of ``runs``.

    Of the plan's record, without how many captions it passed over: nothing else tells that, and the captions are not
    read again.
    """
    names = [name for names in files_by_kind(root).values() for name in names]
    found = {name: (root / name).read_bytes() for name in names if not name.startswith((*RUNS, "study.yaml"))}
    told = parsed_record(root / PLANNED)
    found[PLANNED] = json.dumps({key: told[key] for key in sorted(told) if key not in ("dropped", SELF)}).encode()
    return found


def main() -> int:
    """Flip, look, repair, compare; print what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--root", type=Path, required=True, help="a finished study; it is copied")
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--at-once", type=int, default=50, help="flips that one repair puts right; 0: none is repaired")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "study"
        shutil.copytree(options.root, root)
        flips = draw_flips(root, options.flips, options.seed)
        for kind, count in sorted(Counter(kind_of(name) for name, _, _ in flips).items()):
            print(f"{count:>5} {kind}")
        problems = try_flips(root, flips)
        print(f"{len(flips)} flips, one at a time: {len(problems)} not found or used")
        print("\n".join(problems), flush=True)
        command = [sys.executable, "-m", "flows.cli", "run", options.config, "--root", str(root)]
        for start in range(0, len(flips) if options.at_once else 0, options.at_once or 1):
            found = repaired(root, flips[start : start + options.at_once], command)
            print(f"flips {start} to {start + options.at_once}, repaired and run: {len(found)} differences")
            print("\n".join(found), flush=True)
            problems += found
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
