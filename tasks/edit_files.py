"""The files of an edit that a user asks for: three pictures and a row, in a folder beside the study.

    FOLDER/<edit>/before.png, after.png, control.png
    FOLDER/edits/<edit>.parquet

Each file appears whole, the row last. An edit that is there is not made again: its name holds a digest of all that it
follows from, and its row those of the pictures.
"""

from __future__ import annotations

from pathlib import Path

from storage.atomic import write_atomic
from storage.declared_beside import EDITS, read_row, write_row
from storage.images import encode_png
from storage.vouch import digest_of
from study.errors import StudyError
from study.study import Study
from tasks.edit_plan import plan_edit
from tasks.edit_request import EditRequest
from tasks.edit_scores import PICTURES
from tasks.edit_steps import Told
from tasks.one_edit import OneEdit, decoded, edit_as_planned


def edit_into(
    study: Study, request: EditRequest, out: str | Path | None = None, told: Told | None = None
) -> tuple[OneEdit, list[Path]]:
    """Make an edit, or find it made, in a folder: by default the study's own name with -edits, beside it.

    ``told`` hears of the steps of one that is made. Returns the edit and its files, the row's last.
    Raises as ``make_edit`` does, and ``StudyError`` for a folder of a study, which is its stages' alone.
    """
    folder = folder_of(study.root, out)
    plan = plan_edit(study, request)
    if (there := written(folder, plan.name)) is None:
        there = edit_as_planned(study, plan, told)
        write_edit(folder, there)
    return there, files_of(folder, plan.name)


def folder_of(root: str | Path, out: str | Path | None) -> Path:
    """Where edits go. Raises as ``refuse_study`` does."""
    own = Path(root).resolve()
    if out is None:
        return own.with_name(f"{own.name}-edits") if Path(root).is_absolute() else Path(f"{_shown(root, own)}-edits")
    refuse_study(out)
    return Path(out)


def refuse_study(out: str | Path) -> None:
    """Raise ``StudyError`` for a folder that edits may not be written into: a study's own, or one inside it."""
    if not str(out).strip():
        raise StudyError("no folder is named for the edit's files: name one, or leave it out")
    for above in (Path(out).resolve(), *Path(out).resolve().parents):
        if (above / "study.yaml").exists():
            raise StudyError(f"{out} belongs to the study {above}, whose stages alone write there: name another folder")


def _shown(root: str | Path, own: Path) -> Path:
    """The folder as it was named, unless by a dot."""
    return Path(root) if Path(root).name == own.name else own


def files_of(folder: Path, name: str) -> list[Path]:
    """The pictures, and the row."""
    return [*(folder / name / f"{picture}.png" for picture in PICTURES), folder / EDITS.name / f"{name}.parquet"]


def write_edit(folder: Path, edit: OneEdit) -> list[Path]:
    """Write the pictures, then the row that vouches for them. Raises ``StorageError`` where it cannot."""
    *pictures, row = files_of(folder, edit.row["edit"])
    for path in pictures:
        write_atomic(path, encode_png(edit.images[path.stem]))
    write_row(row, EDITS, edit.row)
    return [*pictures, row]


def written(folder: Path, name: str) -> OneEdit | None:
    """The edit of that name, if all its files are there and are what was written."""
    *pictures, path = files_of(folder, name)
    row = read_row(path, EDITS)
    if row is None or row["edit"] != name:
        return None
    try:
        if any(digest_of(picture) != row[f"{picture.stem}_sha256"] for picture in pictures):
            return None
        return OneEdit(decoded(folder / name), row)
    except OSError:
        return None
