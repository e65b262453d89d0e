"""Whether a study folder is whole: every file below it against the record that vouches for it. Changes nothing.

A file is *whole*, *damaged* (a record names it and it is not what was written), *left over* (no record names it, but
units of the study write such files: a run was interrupted, or an earlier version wrote it) or *foreign*.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sae.commit import checked_tensors, read_commit
from storage.claim_files import FOLDER as CLAIMS
from storage.errors import StorageError
from storage.formats import NewerFormat
from storage.lock import NAME as LOCK
from storage.records import NAME, parsed_record
from storage.schemas import SCHEMAS
from storage.shown import MARK, OF_GROWTH, shown_tables
from storage.store_metadata import NoStoreError, document_files, read_documents
from storage.study import COPY, SEAL, kept_copy, read_study, with_legacy
from storage.tables import unrecorded_runs
from storage.vouch import digest_of, vouched_files
from study.config import parse_config
from study.grown import grown_hashes
from study.hashes import ADDED, stage_hashes
from study.links import DRAWN, Links, Unit
from study.paths import growths
from study.stage import PART_OF_GROWTH
from study.stages import STAGES, stages_of
from study.study import Study

RUNS, FIGURES, CARDS = "runs", "figures", "cards"  # records of these are of no stage
SCRATCH = re.compile(r"\..+\.tmp")  # of a write that was interrupted
CHECKPOINT = "checkpoint.json"
SAE_FILE = re.compile(r"(sae_weights|statistics|step-\d+)\.safetensors|cfg\.json|log\.jsonl")
THREADS = 4  # hashing does not hold Python's lock
STUDY = "study.yaml"
SITE_NOTE = "exported-site.txt"  # in a folder that `concepts export-site` made: nothing in there is the study's


@dataclass(frozen=True)
class Damage:
    """A file that is not what was written: its path below the root, what is the matter, and the units it belongs to."""

    path: str
    what: str
    units: tuple[Unit, ...] = ()

    def __str__(self) -> str:
        units = ", ".join("/".join(unit) for unit in self.units)
        return f"{self.path} {self.what}" + (f" [unit {units}]" if units else "")


@dataclass
class Report:
    """What was found. ``foreign`` and ``left_over`` are paths below the root and no damage."""

    study: Study | None = None
    links: Links | None = None
    damage: list[Damage] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    records: dict[Unit, dict[str, Any]] = field(default_factory=dict)

    def units(self) -> set[Unit]:
        """Those that something damaged or missing belongs to."""
        return {unit for damage in self.damage for unit in damage.units}


def verify(root: str | Path) -> list[str]:
    """Every damage found, as sentences; empty when the study is whole. Raises ``StorageError`` for no study at all."""
    return [str(damage) for damage in inspect_study(root).damage]


def inspect_study(root: str | Path) -> Report:
    """Compare everything below the root with the records.

    Raises ``StorageError`` if the folder holds no study, or one of a newer version; nothing else, whatever lies there.
    """
    root = Path(root)
    report = Report()
    known = _study(root, report)
    _read_records(root, report)
    vouched = _vouched(report)
    _check_files(root, vouched, report)
    if report.links is not None and known is not None:
        _check_complete(report, known)
    if not any(name.endswith("/zarr.json") for name in vouched):
        _check_unvouched_store(root, report)
    _check_copy(root, report)
    _look_around(root, vouched, report)
    report.damage.sort(key=lambda damage: damage.path)
    return report


def _study(root: Path, report: Report) -> dict[str, Any] | None:
    """What study.yaml says, if it is whole; the report gets the study and its units."""
    known: dict[str, Any] | None
    try:
        known = read_study(root)
    except NewerFormat:
        raise
    except StorageError:
        there = os.path.lexists(root / STUDY)
        if not there and not (root / "done").is_dir():
            raise
        report.damage.append(Damage(STUDY, "is damaged" if there else "is missing"))
        known = copied_study(root)
    if known is None:
        return None
    try:
        stage_hashes(known["config"], known.get("stages", {}))
        config = parse_config(with_legacy(known["config"], ADDED), str(root / STUDY))
        report.study = Study(str(root), config, str(known.get("config_hash")))
        report.links = Links(report.study)
    except Exception:  # settings that damage has made into others: the units are not known then
        report.study = report.links = None
        return None
    return known


def copied_study(root: Path) -> dict[str, Any] | None:
    """What a damaged study.yaml said, from its copy among the records."""
    copied = kept_copy(root)
    known = yaml.safe_load(copied) if copied is not None else None
    return known if isinstance(known, dict) and isinstance(known.get("config"), dict) else None


def _check_copy(root: Path, report: Report) -> None:
    """Whether study.yaml, if it is of a format that has a copy, has one that is like it."""
    name = "done/" + "/".join(COPY) + ".json"
    if any(damage.path in (STUDY, name) for damage in report.damage):
        return
    data = (root / STUDY).read_bytes()
    if data.startswith(SEAL.encode()) and kept_copy(root) != data:
        what = "is not a copy of study.yaml" if COPY in report.records else "is missing: the copy of study.yaml"
        report.damage.append(Damage(name, what, (COPY,)))


def _read_records(root: Path, report: Report) -> None:
    """Every record below ``done/``: whole ones into the report, damaged ones of our units as damage."""
    for path in _files_below(root / "done"):
        name = path.relative_to(root / "done").as_posix()
        if not name.endswith(".json") or path.name.startswith(".") or "/" not in name:
            continue
        stage, unit = name[: -len(".json")].split("/", 1)
        try:
            record = parsed_record(path)
        except NewerFormat:
            raise
        except (OSError, ValueError, RecursionError) as error:
            if _is_unit(stage, unit, report):
                what = f"cannot be read as a record ({error})"
                report.damage.append(Damage(f"done/{name}", what, ((stage, unit),)))
            continue
        if record.get(NAME, f"{stage}/{unit}") == f"{stage}/{unit}":
            report.records[stage, unit] = record


def _is_unit(stage: str, unit: str, report: Report) -> bool:
    """Whether the study has such a unit, as far as can be known."""
    if stage in (RUNS, FIGURES, CARDS) or (stage, unit) in (COPY, MARK):
        return True
    return stage in STAGES and (report.links is None or unit in report.links.units[stage])


def _vouched(report: Report) -> dict[str, list[tuple[str, Unit]]]:
    """Path below the root -> the digests that records name for it, and whose records."""
    vouched: dict[str, list[tuple[str, Unit]]] = {}
    shown = report.records.get(MARK, {}).get(MARK[1], {})
    for unit, record in report.records.items():
        former = shown_tables(record, shown.get(unit[0]))
        for path, digest in _named_by(unit, record, {} if former == record.get("tables") else former):
            vouched.setdefault(path, []).append((digest, unit))
    return vouched


def _named_by(unit: Unit, record: dict[str, Any], former: dict[str, Any]) -> Iterator[tuple[str, str]]:
    try:
        for table, facts in [*record.get("tables", {}).items(), *former.items()]:
            yield f"tables/{table}/{facts['part']}.parquet", facts["sha256"]
        for key, digest in record.get("checksums", {}).items():
            yield f"activations.zarr/{key}/c/{int(unit[1])}/0/0/0", digest
        yield from vouched_files(record).items()
    except (AttributeError, KeyError, TypeError, ValueError):  # a damaged record of the first format, without a digest
        yield f"done/{unit[0]}/{unit[1]}.json", "not a record's facts"


def _check_files(root: Path, vouched: dict[str, list[tuple[str, Unit]]], report: Report) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        sums = dict(zip(vouched, pool.map(lambda name: _digest(root / name), vouched), strict=True))
    for name, named in vouched.items():
        units = tuple(unit for digest, unit in named if digest != sums[name])
        if units:
            what = sums[name] if sums[name].startswith("is ") else "is damaged: its checksum is not the recorded one"
            report.damage.append(Damage(name, what, units))


def _digest(path: Path) -> str:
    """The file's digest, or what is the matter with it, which begins with 'is'."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "is not a file"
        return digest_of(path)
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except OSError as error:
        return f"is unreadable ({error.strerror or error})"


def _check_complete(report: Report, known: dict[str, Any]) -> None:
    """A stage that ended has all its units, and what a finished unit was made from is there."""
    assert report.links is not None
    study = report.links.study
    current = grown_hashes(study, stage_hashes(known["config"], known.get("stages", {})))
    growth = growths(study).last if study.config.prompts.grows else 0
    whole = known.get("config_hash")
    done = {u for u, r in report.records.items() if r.get("config_hash") in (current.get(u[0]), whole)}
    wanted: dict[Unit, str] = {}
    for (stage, unit), record in report.records.items():
        if stage == RUNS and record.get("config_hash") == whole and record.get(OF_GROWTH, growth) == growth:
            for ended in stages_of(unit.split("-", 1)[0]):
                told = f"the run {unit} says that {ended.name!r} ended"
                wanted |= {(ended.name, u): told for u in report.links.units[ended.name]}
    for stage, unit in done:
        if stage in STAGES:
            made = f"{stage}/{unit} was made from it"
            wanted |= dict.fromkeys(report.links.needs(stage, unit), made)
    if DRAWN in done:
        pictures = report.records[DRAWN].get("figures", [])
        wanted |= {(FIGURES, str(name)): "it was drawn" for name in pictures if (FIGURES, name) not in report.records}
    damaged = report.units()
    for lost in sorted(set(wanted) - done - damaged):
        if lost not in report.records:  # a record of former settings is there: `concepts run` makes the unit again
            name = f"done/{lost[0]}/{lost[1]}.json"
            report.damage.append(Damage(name, f"is missing, though {wanted[lost]}", (lost,)))


def _check_unvouched_store(root: Path, report: Report) -> None:
    """The metadata of a store of the first format, which no record names, against one another."""
    try:
        read_documents(root)
    except NoStoreError:
        if any(stage == "collect" for stage, _ in report.records):
            report.damage.append(Damage("activations.zarr", "lacks its metadata", (("plan", "prompts"),)))
    except NewerFormat:
        raise
    except Exception as error:
        report.damage.append(Damage("activations.zarr", f"has damaged metadata ({error})", (("plan", "prompts"),)))


def _look_around(root: Path, vouched: dict[str, Any], report: Report) -> None:
    """Sort every file that no record names into left over and foreign; checkpoints vouch for themselves."""
    ours = {f"done/{stage}/{unit}.json" for stage, unit in report.records} | {d.path for d in report.damage}
    ours |= _unrecorded_runs(root, report) | _unvouched_documents(root, report)
    committed: set[str] = set()
    sites = {note.parent.name for note in root.glob(f"[!.]*/{SITE_NOTE}")}
    for path in _files_below(root):
        name = path.relative_to(root).as_posix()
        top = name.partition("/")[0]
        if top in sites:
            continue
        if name in vouched or name in ours or name in (STUDY, LOCK) or name.startswith(f"{CLAIMS}/"):
            continue
        if path.name == CHECKPOINT and name.startswith("saes/"):
            committed |= _check_commit(root, path, report)
        elif SCRATCH.fullmatch(path.name) or SCRATCH.fullmatch(top) or _could_be_ours(name, report):
            report.left_over.append(name)
        else:
            report.foreign.append(name)
    report.left_over = [name for name in report.left_over if name not in committed]


def _unvouched_documents(root: Path, report: Report) -> set[str]:
    """Metadata of the store of a growing study: they change, and are checked against one another instead."""
    if report.study is None or not report.study.config.prompts.grows:
        return set()
    try:
        return {path.relative_to(root).as_posix() for path in document_files(root, read_documents(root)[0])}
    except StorageError:
        return set()


def _unrecorded_runs(root: Path, report: Report) -> set[str]:
    """Parts of ``runs`` without a record, as all were in the first format; where others have one, theirs was lost."""
    paths = [path for path in unrecorded_runs(root) if (RUNS, path.stem) not in report.records]
    if any(stage == RUNS for stage, _ in report.records):
        for path in paths:
            unit, told = (RUNS, path.stem), {unit for damage in report.damage for unit in damage.units}
            if unit not in told:
                report.damage.append(
                    Damage(f"done/runs/{path.stem}.json", "is missing, though its row is there", (unit,))
                )
    return {path.relative_to(root).as_posix() for path in paths}


def _check_commit(root: Path, path: Path, report: Report) -> set[str]:
    """The tensor files that a checkpoint names. What it says must be so, or training could not go on from it."""
    name = path.relative_to(root).as_posix()
    units = _trained_from(name, report)
    try:
        files = {(path.parent / below): digest for below, digest in read_commit(path).get("files", {}).items()}
        named = {file.relative_to(root).as_posix() for file in files}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        report.damage.append(Damage(name, f"is a damaged checkpoint ({error})", units))
        return set()
    for file, digest in files.items():
        try:
            checked_tensors(file, digest)
        except (OSError, ValueError) as error:
            what = f"is damaged, a file of the checkpoint {name} ({error})"
            report.damage.append(Damage(file.relative_to(root).as_posix(), what, units))
    return named


def _trained_from(name: str, report: Report) -> tuple[Unit, ...]:
    """The units without a record that go on from a checkpoint; what has been trained does not need it any more."""
    if report.links is None:
        return ()
    _, block, t, conditioning, _ = name.split("/")
    if t == "shared":
        units: list[Unit] = [("share", f"{block}/{conditioning}")]
    else:
        here = f"{block}/{t}/{conditioning}/"
        units = [("train", unit) for unit in report.links.units["train"] if unit.startswith(here)]
    return tuple(unit for unit in units if unit not in report.records)


def _could_be_ours(name: str, report: Report) -> bool:
    """Whether a unit of this study writes a file of that name, though no record names it now."""
    top, *rest = name.split("/")
    if top == "tensorboard":
        return True
    if top == "tables":
        first = re.sub(f"{PART_OF_GROWTH}\\d+", "", rest[-1])  # of whatever growth it is
        return len(rest) == 2 and rest[0] in SCHEMAS and rest[0] != RUNS and first in _part_files(report)
    if top == "activations.zarr":
        return rest[-1] == "zarr.json" or re.fullmatch(r"[^/]+/[\d.]+/[^/]+/c/\d+/0/0/0", "/".join(rest)) is not None
    if top == "saes":
        return SAE_FILE.fullmatch(rest[-1]) is not None
    if top == FIGURES:
        return rest[-1].endswith(".png")
    return top == "done" and rest[-1].endswith(".json") and not rest[-1].startswith(".")


def _part_files(report: Report) -> set[str]:
    """Names of the part files that the study's units write."""
    if report.links is None:
        return set()
    return {f"{STAGES[stage].part(unit)}.parquet" for stage, names in report.links.units.items() for unit in names}


def _files_below(folder: Path) -> Iterator[Path]:
    """Every entry below a folder that is no folder itself, links to folders included; unreadable folders are empty."""
    for parent, folders, names in os.walk(folder):
        linked = [name for name in folders if Path(parent, name).is_symlink()]
        yield from (Path(parent) / name for name in sorted([*names, *linked]))
