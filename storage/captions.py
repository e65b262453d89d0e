"""Reading captions from Parquet files as they are found in the wild: a file, a glob, or a folder of parts.

One row group is held at a time. Whatever is wrong with a file is said with its name, and its row group if it has one.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from storage.errors import StorageError

BATCH_ROWS = 2048
SUFFIXES = (".parquet", ".parq", ".pq")


class CaptionSource:
    """The captions of ``source``, and their ``punsafe`` if that is wanted."""

    def __init__(self, source: str, caption_column: str, with_punsafe: bool) -> None:
        self.source, self.caption_column, self.with_punsafe = source, caption_column, with_punsafe

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        """Row dictionaries with caption, punsafe, source_file and source_row, in the order of files and rows.

        Raises ``StorageError`` for a source, a column or a row that cannot be read.
        """
        for file, parquet in self._files():
            columns = self._columns(parquet.schema_arrow, file)
            name, row = Path(file).name, 0
            for group in range(parquet.num_row_groups):
                for batch in _row_group(parquet, group, columns, file):
                    read = [_values(batch.column(column), f"{file}, row group {group}", row) for column in columns]
                    unsafe = read[1] if self.with_punsafe else [None] * len(read[0])
                    yield [
                        {"caption": c, "punsafe": u, "source_file": name, "source_row": row + i}
                        for i, (c, u) in enumerate(zip(read[0], unsafe, strict=True))
                    ]
                    row += len(read[0])

    def check(self, wanted: int) -> None:
        """Raise ``StorageError`` for what can be known without reading a row: files, columns, and too few rows."""
        rows = 0
        for file, parquet in self._files():
            self._columns(parquet.schema_arrow, file)
            rows += parquet.metadata.num_rows
            if rows >= wanted:
                return
        raise StorageError(
            f"{self.source} has {rows} rows, but prompts.splits ask for {wanted} captions: give more files or smaller "
            "splits"
        )

    def rows(self) -> int:
        """Rows of all files, as their footers tell. Raises ``StorageError`` for one that cannot be read."""
        return sum(parquet.metadata.num_rows for _, parquet in self._files())

    def _files(self) -> Iterator[tuple[str, pq.ParquetFile]]:
        """Every file that holds rows; an empty one among others is passed over."""
        files, empty = source_files(self.source), []
        for file in files:
            parquet = _open(file)
            if parquet.metadata.num_rows:
                yield file, parquet
            else:
                empty.append(file)
        if len(empty) == len(files):
            raise StorageError(f"{self.source} holds no rows: set prompts.source to a file with captions")

    def _columns(self, schema: pa.Schema, file: str) -> list[str]:
        caption = _column(schema, self.caption_column, file, "set prompts.caption_column")
        if not is_text(schema.field(caption).type):
            text = [field.name for field in schema if is_text(field.type)]
            raise StorageError(
                f"{file}: the column {caption!r} holds {schema.field(caption).type}, and a caption is one text: set "
                f"prompts.caption_column to a column of strings ({_listed(text)}), or make one of it"
            )
        if not self.with_punsafe:
            return [caption]
        unsafe = _column(schema, "punsafe", file, "set prompts.max_punsafe to null")
        if not is_number(schema.field(unsafe).type):
            raise StorageError(
                f"{file}: the column {unsafe!r} holds {schema.field(unsafe).type}, and it has to be compared with "
                "prompts.max_punsafe: make numbers of it, or set prompts.max_punsafe to null"
            )
        return [caption, unsafe]


def source_files(source: str) -> list[str]:
    """Files of ``prompts.source`` in sorted order: itself, a folder's Parquet files, or what a glob finds.

    Brackets in the name of a file or folder that exists are taken as they stand. Raises ``StorageError`` if there are
    none, or for a URL.
    """
    if "://" in source:
        raise StorageError(
            f"prompts.source {source} is a URL, and only local files are read: fetch them and give their path"
        )
    paths = [source] if Path(source).exists() else sorted(glob.glob(_pattern(source), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    files = [file for path in paths for file in (_parts(Path(path)) if Path(path).is_dir() else [path])]
    if not files:
        what = "in" if Path(source).is_dir() else "called"
        raise StorageError(f"no Parquet file {what} {source}: set prompts.source to a file, a folder or a glob")
    return files


def _pattern(source: str) -> str:
    """The glob, with nothing special in the names of its leading folders that exist by just that name."""
    parts = Path(source).parts
    for count in range(len(parts) - 1, 0, -1):
        folder = Path(*parts[:count])
        if folder.is_dir():
            return str(Path(glob.escape(str(folder)), *parts[count:]))
    return source


def _parts(folder: Path) -> list[str]:
    """Parquet files anywhere below, without what writers and file managers hide (``_temporary``, ``._part``)."""
    below = (f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    return sorted(str(f) for f in below if not any(p.startswith((".", "_")) for p in f.relative_to(folder).parts))


def _open(file: str) -> pq.ParquetFile:
    if Path(file).exists() and not Path(file).is_file():
        raise StorageError(f"{file} is not a regular file: set prompts.source to a Parquet file")
    try:
        return pq.ParquetFile(file, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise StorageError(f"no Parquet file {file}: set prompts.source to a file, a folder or a glob") from error
    except PermissionError as error:
        raise StorageError(f"{file} cannot be read ({error.strerror}): make it readable") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StorageError(f"{file} is not a whole Parquet file ({_reason(error)}): fetch it again") from error


def _column(schema: pa.Schema, wanted: str, file: str, remedy: str) -> str:
    """The column of that name; its case matters only if several differ in nothing else."""
    near = [name for name in schema.names if name.lower() == wanted.lower()]
    same = [name for name in near if name == wanted] or near
    if len(same) > 1:
        raise StorageError(f"{file} has {len(same)} columns {wanted!r} ({_listed(same)}): keep one of them")
    if not same:
        raise StorageError(f"{file} has no column {wanted!r}; it has {_listed(schema.names)}: {remedy}")
    return same[0]


def is_text(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are strings, however they are stored."""
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def is_number(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are numbers, however they are stored."""
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind)


def _row_group(parquet: pq.ParquetFile, group: int, columns: list[str], file: str) -> Iterator[pa.RecordBatch]:
    batches = parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns)
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise StorageError(f"{file} is damaged in row group {group} ({_reason(error)}): fetch it again") from error
        if batch is None:
            return
        yield batch


def _values(column: pa.Array, where: str, first_row: int) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError as error:
        row = first_row + next(i for i in range(len(column)) if not _is_unicode(column[i]))
        raise StorageError(
            f"{where}: the text of row {row} is not UTF-8 ({error.reason}): fetch the file again or write it as UTF-8"
        ) from error


def _is_unicode(value: pa.Scalar) -> bool:
    try:
        value.as_py()
    except UnicodeDecodeError:
        return False
    return True


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
