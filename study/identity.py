"""What the files that settings name contain: that, not where they lie, is what a study was made with.

``study.yaml`` keeps a digest of each. A project that was moved with its study, a folder reached through a link or a
slash more at its end is the same; a file that changed under its name is not. The paths in ``study.yaml`` stay as they
were written first, and with them the hashes that records carry.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from diffusion.digest import former_digests
from diffusion.digest import loaded_files as model_files
from diffusion.outdated import is_corrected
from storage.captions import source_files
from storage.contents import contents_digest, tails_digest
from storage.errors import StorageError
from study.config import PATH_FIELDS, StudyConfig
from vision.files import loaded_files as vision_files

CONTENTS = "contents"  # in study.yaml: setting -> digest of what it names
MODEL, SOURCE = "model.path", "prompts.source"


class Named(NamedTuple):
    """A setting that names files: as it was, as it is, and whether they contain the same (None: nobody can tell)."""

    field: str
    old: str
    new: str
    same: bool | None


def contents_of(config: StudyConfig) -> dict[str, str]:
    """Setting -> digest of what it names; hub ids and what is not there are left out, for their readers to refuse.

    Raises ``DiffusionError`` for a model folder that is missing or not whole, ``StorageError`` for an unreadable file.
    """
    plain = config.model_dump(mode="json")
    digests = {
        field: _contents(field, value) for field in PATH_FIELDS if isinstance(value := _value(plain, field), str)
    }
    return {field: digest for field, digest in digests.items() if digest is not None}


def _contents(field: str, path: str) -> str | None:
    kind = PATH_FIELDS[field]
    if kind == "captions":
        try:
            return tails_digest([Path(file) for file in source_files(path)])
        except (StorageError, OSError):
            return None
    if kind == "file":
        return contents_digest({"": Path(path)}) if Path(path).is_file() else None
    files_of = model_files if kind == "diffusion model" else vision_files
    files = files_of(path)
    return contents_digest(files) if files else None


def settled(root: str | Path, known: dict[str, Any], config: StudyConfig, contents: dict[str, str]) -> dict[str, Any]:
    """The settings as ``study.yaml`` (``known``) names them: a path that leads to the same files counts as the old one.

    Raises ``StorageError`` for files that changed under their name. The source of the captions may: a study draws its
    prompts once.
    """
    _refuse_other_sampling(root, known, config)
    plain = config.model_dump(mode="json")
    named = list(_compared(known, plain, contents))
    for one in named:
        if one.old == one.new and one.same is False and one.field != SOURCE:
            raise StorageError(f"{root}: {_changed(one)}")
    moves = [_move(one) for one in named if one.same and one.old != one.new]
    for one in named:
        if one.same or (one.same is None and _went_along(one, moves)):
            *parents, leaf = one.field.split(".")
            _value(plain, ".".join(parents))[leaf] = one.old
    return plain


def _refuse_other_sampling(root: str | Path, known: dict[str, Any], config: StudyConfig) -> None:
    """Images of one study must not be sampled in two ways: studies of the first format took the scheduler as it lay."""
    if CONTENTS not in known and is_corrected(config.model.path):
        raise StorageError(
            f"{root} was sampled just as scheduler/scheduler_config.json in {config.model.path} has it, whose "
            "clip_sample or steps_offset diffusers' own pipeline and this version put right: its results can be read "
            "as before; choose another --root to sample the model anew"
        )


def _changed(one: Named) -> str:
    if one.field == MODEL:
        return (
            f"the model in {one.new} (model.path) was changed since this study was made: restore it, name the folder "
            "that holds the former one, or choose another --root for the new one"
        )
    return (
        f"the file that {one.field} names was changed since this study was made: restore {one.new}, or give the new "
        "one another name and run `concepts revise` with it"
    )


def _compared(known: dict[str, Any], plain: dict[str, Any], contents: dict[str, str]) -> Iterator[Named]:
    for field in PATH_FIELDS:
        old, new = _value(known["config"], field), _value(plain, field)
        if isinstance(old, str) and isinstance(new, str):
            yield Named(field, old, new, _same(known, field, old, new, contents))


def _same(known: dict[str, Any], field: str, old: str, new: str, contents: dict[str, str]) -> bool | None:
    if field not in contents:
        return None
    if (recorded := known.get(CONTENTS, {}).get(field)) is not None:
        same = bool(recorded == contents[field])
        grown = field == SOURCE and known["config"].get("prompts", {}).get("split_by") == "caption"
        return None if grown and not same else same  # what has grown may have moved along with the rest
    # Studies of the first format knew the model and three kinds of files by digests of another kind.
    if field == MODEL and "model_revision" in known:
        return known["model_revision"] in former_digests(new)
    if field in known.get("files", {}):
        return bool(known["files"][field] == _former_digest(Path(new)))
    former = _contents(field, old) if old != new and Path(old).exists() else None
    return None if former is None else former == contents[field]


def _former_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.sha256(str(path.stat().st_size).encode() + file.read(2**20)).hexdigest()[:16]


def _move(one: Named) -> tuple[Path, Path]:
    """The folders above what is common to the ends of both paths: where a project was, and where it is."""
    old, new = Path(one.old).parts, Path(one.new).parts
    common = 0
    while common < min(len(old), len(new)) and old[-1 - common] == new[-1 - common]:
        common += 1
    return Path(*old[: len(old) - common]), Path(*new[: len(new) - common])


def _went_along(one: Named, moves: list[tuple[Path, Path]]) -> bool:
    """Whether a path that cannot be compared differs just as one did that was found to lead to the same files."""
    old, new = Path(one.old), Path(one.new)
    return any(old.is_relative_to(was) and now / old.relative_to(was) == new for was, now in moves)


def new_contents(known: dict[str, Any], contents: dict[str, str]) -> dict[str, str]:
    """The digests that ``study.yaml`` lacks: studies of the first format have none."""
    there = known.get(CONTENTS, {})
    return {**copy.copy(there), **{field: digest for field, digest in contents.items() if field not in there}}


def _value(config: Any, key: str) -> Any:
    for part in key.split(".") if key else ():
        config = config.get(part) if isinstance(config, dict) else None
    return config
