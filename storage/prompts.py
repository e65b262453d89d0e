"""The prompt reader: captions in LAION-COCO's Parquet format, filtered, deduplicated and dealt to the splits."""

from __future__ import annotations

import glob
import hashlib
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, field_validator

from storage.errors import StorageError
from storage.schemas import SCHEMAS

BATCH_ROWS = 2048


class PromptSettings(BaseModel):
    """Which captions a study uses. Filter values follow the common practice for LAION-COCO."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="Parquet file, or a glob of them; read in sorted order.")
    caption_column: str = Field("top_caption", description="Column of captions; case does not matter.")
    splits: dict[str, int] = Field(
        description="Prompts per split, dealt in this order: train (SAEs), dictionary (labels), layout, style (edits)."
    )
    shard_size: int = Field(32, ge=1, description="Prompts one task handles and one Zarr shard holds.")
    max_punsafe: float | None = Field(
        0.1, description="Rows with a larger `punsafe` are dropped; null keeps all, also for files without the column."
    )
    min_words: int = Field(3, ge=1, description="Shorter captions say too little to label anything.")
    max_words: int = Field(40, ge=1, description="Longer ones are mostly scraped page text.")
    max_tokens: int = Field(77, ge=3, description="CLIP's context, begin and end included: longer ones would be cut.")

    @field_validator("splits")
    @classmethod
    def _positive(cls, splits: dict[str, int]) -> dict[str, int]:
        bad = {name: size for name, size in splits.items() if size < 1}
        if bad:
            raise ValueError(f"prompts.splits must be at least 1 each, got {bad}")
        return splits


def plan_prompts(settings: PromptSettings, count_tokens: Callable[[list[str]], list[int]], seed: int) -> pa.Table:
    """The ``prompts`` table: the first usable captions of the source, dealt to the splits in order.

    ``count_tokens`` counts CLIP tokens without truncation. Raises ``StorageError`` when a file is missing, damaged,
    lacks the column, or holds too few usable captions.
    """
    wanted = [name for name, size in settings.splits.items() for _ in range(size)]
    rows: list[dict[str, Any]] = []
    seen: set[bytes] = set()  # 16 bytes a caption: 250,000 prompts are some 20 MB
    read = 0
    for batch in _raw_batches(settings):
        read += len(batch)
        for row in _usable(batch, settings, count_tokens, seen):
            prompt_id = len(rows)
            rows.append(
                {**row, "prompt_id": prompt_id, "split": wanted[prompt_id], "seed": prompt_seed(seed, prompt_id)}
            )
            if len(rows) == len(wanted):
                return pa.Table.from_pylist(rows, schema=SCHEMAS["prompts"])
    raise StorageError(
        f"{settings.source} has {len(rows)} usable captions among {read} rows, but prompts.splits ask for "
        f"{len(wanted)}: give more files or smaller splits"
    )


def prompt_seed(seed: int, prompt_id: int) -> int:
    """The 63-bit noise seed of a prompt, a hash of (study seed, prompt id)."""
    return hashed_seed(seed, prompt_id)


def hashed_seed(*parts: object) -> int:
    """A 63-bit seed that depends on all of ``parts`` and on nothing else."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _raw_batches(settings: PromptSettings) -> Iterator[list[dict[str, Any]]]:
    """Row dictionaries with caption, punsafe, source_file and source_row, one row group streamed at a time."""
    files = sorted(glob.glob(settings.source)) or [settings.source]
    for file in files:
        parquet = _open(file)
        caption = _column(parquet, settings.caption_column, file)
        columns = [caption]
        if settings.max_punsafe is not None:
            columns.append(_column(parquet, "punsafe", file))
        row_number = 0
        for batch in parquet.iter_batches(BATCH_ROWS, columns=columns):
            captions = batch.column(0).to_pylist()
            unsafe = batch.column(1).to_pylist() if len(columns) > 1 else [None] * len(captions)
            name = Path(file).name
            yield [
                {"caption": c, "punsafe": u, "source_file": name, "source_row": row_number + i}
                for i, (c, u) in enumerate(zip(captions, unsafe, strict=True))
            ]
            row_number += len(captions)


def _open(file: str) -> pq.ParquetFile:
    try:
        parquet = pq.ParquetFile(file)
    except FileNotFoundError as error:
        raise StorageError(f"no Parquet file {file}: set prompts.source to a file or a glob") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise StorageError(f"{file} is not a whole Parquet file ({error}): fetch it again") from error
    if parquet.metadata.num_rows == 0:
        raise StorageError(f"{file} holds no rows: set prompts.source to a file with captions")
    return parquet


def _column(parquet: pq.ParquetFile, wanted: str, file: str) -> str:
    names = parquet.schema_arrow.names
    for name in names:
        if name.lower() == wanted.lower():
            return name
    field = "prompts.caption_column" if wanted != "punsafe" else "prompts.max_punsafe to null"
    raise StorageError(f"{file} has no column {wanted!r}; it has {', '.join(names)}: set {field}")


def _usable(
    batch: list[dict[str, Any]],
    settings: PromptSettings,
    count_tokens: Callable[[list[str]], list[int]],
    seen: set[bytes],
) -> Iterator[dict[str, Any]]:
    """Rows that pass every filter, normalised (NFKC), duplicates dropped."""
    kept = [row for row in batch if _passes(row, settings)]
    for row in kept:
        row["caption"] = unicodedata.normalize("NFKC", row["caption"]).strip()
    counts = count_tokens([row["caption"] for row in kept]) if kept else []
    for row, n_tokens in zip(kept, counts, strict=True):
        digest = hashlib.blake2b(row["caption"].lower().encode(), digest_size=16).digest()
        if n_tokens <= settings.max_tokens and digest not in seen:
            seen.add(digest)
            yield {key: row[key] for key in ("caption", "source_file", "source_row")} | {"n_tokens": n_tokens}


def _passes(row: dict[str, Any], settings: PromptSettings) -> bool:
    caption = row["caption"]
    if not isinstance(caption, str):
        return False
    if settings.max_punsafe is not None and (row["punsafe"] is None or row["punsafe"] > settings.max_punsafe):
        return False
    # Scripts without spaces have few "words"; the token limit bounds them instead.
    words = len(caption.split())
    spaceless = words < settings.min_words and len(caption) >= 4 * settings.min_words and not caption.isascii()
    return bool(caption.strip()) and words <= settings.max_words and (words >= settings.min_words or spaceless)
