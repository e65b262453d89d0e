"""The prompt reader: captions in LAION-COCO's Parquet format, filtered, deduplicated and dealt to the splits."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from storage.captions import CaptionSource
from storage.errors import StorageError
from storage.schemas import SCHEMAS
from storage.splits import refuse_no_shares

CLIP_CONTEXT = 77
# Characters that take no ink: a caption of nothing else is blank, however long. Joiners inside words stay.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e007f]"
)
CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")  # without those that Unicode counts as white space

TokenIds = Callable[[list[str]], list[list[int]]]


class PromptSettings(BaseModel):
    """Which captions a study uses. Filter values follow the common practice for LAION-COCO."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(
        description="Parquet file, a folder of them, or a glob; read in sorted order. Local: fetch what is elsewhere."
    )
    caption_column: str = Field("top_caption", description="Column of captions, of strings; case does not matter.")
    split_by: Literal["order", "caption"] = Field(
        "order",
        description="order: the first captions are dealt to the splits, and the study is of them for good. caption: a "
        "hash of its words decides the split of each, and the study grows with its source (docs/growing.md).",
    )
    splits: dict[str, int | float] = Field(
        description="Prompts per split, dealt in this order: train (SAEs), dictionary (labels), layout, style (edits). "
        "With split_by: caption, shares of the captions instead, together 1."
    )
    shard_size: int = Field(32, ge=1, description="Prompts one task handles and one Zarr shard holds.")
    max_punsafe: float | None = Field(
        0.1,
        description="Rows with a larger `punsafe`, or without a number there, are dropped; null keeps all, also for "
        "files without the column.",
    )
    min_words: int = Field(3, ge=1, description="Shorter captions say too little to label anything.")
    max_words: int = Field(40, ge=1, description="Longer ones are mostly scraped page text.")
    max_tokens: int = Field(
        CLIP_CONTEXT,
        ge=3,
        description="CLIP's context, begin and end included; longer captions would be cut, so they are dropped. A "
        "model that reads fewer tokens (the miniature: 32) lowers the default; another value must be within them.",
    )

    @field_validator("splits")
    @classmethod
    def _whole_ones_as_such(cls, splits: dict[str, int | float]) -> dict[str, int | float]:
        return {name: int(size) if float(size).is_integer() else size for name, size in splits.items()}

    @model_validator(mode="after")
    def _splits_fit(self) -> PromptSettings:
        if self.grows:
            refuse_no_shares(self.splits)
            return self
        if broken := {name: size for name, size in self.splits.items() if not float(size).is_integer()}:
            raise ValueError(
                f"prompts.splits must be whole numbers of prompts, got {broken}: shares of the captions want "
                "prompts.split_by: caption"
            )
        bad = {name: size for name, size in self.splits.items() if size < 1}
        if bad:
            raise ValueError(f"prompts.splits must be at least 1 each, got {bad}")
        return self

    @model_validator(mode="after")
    def _some_length_passes(self) -> PromptSettings:
        if self.min_words > self.max_words:
            raise ValueError(
                f"prompts.min_words {self.min_words} is more than max_words {self.max_words}: no caption is both"
            )
        return self

    @property
    def grows(self) -> bool:
        """Whether the study takes in what its source gains."""
        return self.split_by == "caption"

    @property
    def sizes(self) -> dict[str, int]:
        """Prompts of each split: as they are set or, of a study that grows, at most as many as the source gives now.

        Raises ``StorageError`` for a source that cannot be read.
        """
        if not self.grows:
            return {name: int(size) for name, size in self.splits.items()}
        rows = self.captions().rows()
        return {name: int(rows * share) // self.shard_size * self.shard_size for name, share in self.splits.items()}

    def token_limit(self, context: int) -> int:
        """Most tokens of a caption, for a model that reads ``context``. Raises ``StorageError`` if more are asked."""
        if self.max_tokens > context and self.max_tokens != CLIP_CONTEXT:
            raise StorageError(
                f"prompts.max_tokens is {self.max_tokens}, but the model reads only {context} tokens of a caption: set "
                f"it to {context} or less"
            )
        return min(self.max_tokens, context)

    def captions(self) -> CaptionSource:
        """Where the captions are read from. Raises ``StorageError`` as soon as something of it is used."""
        return CaptionSource(self.source, self.caption_column, self.max_punsafe is not None)

    def check_source(self) -> None:
        """Raise ``StorageError`` for what can be known of the source without reading a caption."""
        if not self.grows:
            self.captions().check(sum(self.sizes.values()))
        elif lacking := [name for name, size in self.sizes.items() if not size]:
            raise StorageError(
                f"{self.source} has {self.captions().rows()} rows, too few to fill one shard of {self.shard_size} "
                f"prompts for every split ({', '.join(lacking)}): give more files, or lower prompts.shard_size"
            )


def plan_prompts(
    settings: PromptSettings, token_ids: TokenIds, context: int, seed: int, dropped: Counter[str] | None = None
) -> pa.Table:
    """The ``prompts`` table: the first usable captions of the source, dealt to the splits in order.

    ``token_ids`` gives the CLIP tokens of captions, nothing cut; the model reads ``context`` of them. ``dropped`` is
    told how many rows were passed over, by reason. Raises ``StorageError`` when a file is missing, damaged, lacks the
    column, or holds too few usable captions.
    """
    dropped = Counter() if dropped is None else dropped
    total = sum(settings.sizes.values())
    filters = CaptionFilter(settings, token_ids, settings.token_limit(context), dropped)
    rows: list[dict[str, Any]] = []
    read = 0
    for batch in settings.captions().batches():
        read += len(batch)
        rows += filters.usable(batch, total - len(rows))
        if len(rows) == total:
            break
    else:
        raise StorageError(
            f"{settings.source} has {len(rows)} usable captions among {read} rows{told(dropped)}, but prompts.splits "
            f"ask for {total}: give more files, smaller splits or other limits"
        )
    splits = (name for name, size in settings.sizes.items() for _ in range(size))
    dealt = [
        {**row, "prompt_id": prompt_id, "split": split, "seed": prompt_seed(seed, prompt_id)}
        for prompt_id, (row, split) in enumerate(zip(rows, splits, strict=True))
    ]
    return pa.Table.from_pylist(dealt, schema=SCHEMAS["prompts"])


def told(dropped: Counter[str]) -> str:
    """`` (dropped: 3 repeated, ...)``, most frequent reason first; nothing if nothing was dropped."""
    parts = ", ".join(f"{count} {reason}" for reason, count in dropped.most_common())
    return f" (dropped: {parts})" if parts else ""


def prompt_seed(seed: int, prompt_id: int) -> int:
    """The 63-bit noise seed of a prompt, a hash of (study seed, prompt id)."""
    return hashed_seed(seed, prompt_id)


def hashed_seed(*parts: object) -> int:
    """A 63-bit seed that depends on all of ``parts`` and on nothing else."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class CaptionFilter:
    """Passes rows with a usable caption, normalised (NFKC), that the model reads differently from all before it.

    ``unmet`` are digests of the captions that were known beforehand and that no row has had yet.
    """

    def __init__(self, settings: PromptSettings, token_ids: TokenIds, most_tokens: int, dropped: Counter[str]) -> None:
        self.settings, self.token_ids, self.most_tokens, self.dropped = settings, token_ids, most_tokens, dropped
        self.seen: set[bytes] = set()  # 32 bytes a caption: 250,000 prompts are some 50 MB
        self.unmet: set[bytes] = set()

    def know(self, captions: Iterable[str]) -> None:
        """Take captions for met before: a row that has one of them is passed over, and counts as repeated from then."""
        known = list(captions)
        for caption, tokens in zip(known, self.token_ids(known) if known else [], strict=True):
            self.seen |= _keys(caption, tokens)
            self.unmet.add(_key(caption))

    def usable(self, batch: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
        """At most ``most`` rows of the batch, with ``n_tokens``."""
        kept = list(self._of_content(batch))
        ids = self.token_ids([row["caption"] for row in kept]) if kept else []
        rows: list[dict[str, Any]] = []
        for row, tokens in zip(kept, ids, strict=True):
            if len(rows) == most:
                break
            if self.unmet and (key := _key(row["caption"])) in self.unmet:
                self.unmet.discard(key)
                continue
            reason = self._reason_of_tokens(row["caption"], tokens)
            if reason:
                self.dropped[reason] += 1
                continue
            rows.append({key: row[key] for key in ("caption", "source_file", "source_row")})
            rows[-1]["n_tokens"] = len(tokens)
        return rows

    def _of_content(self, batch: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for row in batch:
            caption = row["caption"]
            if caption is not None:
                caption = unicodedata.normalize("NFKC", caption).strip()
            reason = self._reason(caption, row["punsafe"])
            if reason:
                self.dropped[reason] += 1
            else:
                yield {**row, "caption": caption}

    def _reason(self, caption: str | None, punsafe: Any) -> str | None:
        """Why a caption is not used, or None."""
        settings = self.settings
        if caption is None:
            return "without a caption"
        if settings.max_punsafe is not None:
            if punsafe is None or not math.isfinite(punsafe):
                return "without a number for punsafe"
            if not punsafe <= settings.max_punsafe:
                return f"with punsafe above {settings.max_punsafe}"
        if CONTROL.search(caption):
            return "with control characters"
        shown = INVISIBLE.sub("", caption).strip()
        if not shown:
            return "blank"
        # Scripts without spaces have few "words"; the token limit bounds them instead.
        words = len(shown.split())
        spaceless = words < settings.min_words and len(shown) >= 4 * settings.min_words and not shown.isascii()
        if words > settings.max_words:
            return f"of more than {settings.max_words} words"
        return None if words >= settings.min_words or spaceless else f"of fewer than {settings.min_words} words"

    def _reason_of_tokens(self, caption: str, tokens: list[int]) -> str | None:
        if len(tokens) > self.most_tokens:
            return f"of more than {self.most_tokens} tokens"
        keys = _keys(caption, tokens)
        if keys & self.seen:
            return "repeated"
        self.seen |= keys
        return None


def _key(caption: str) -> bytes:
    return _digest(caption.lower().encode())


def _keys(caption: str, tokens: list[int]) -> set[bytes]:
    """The tokenizer folds case and white space in its own way: equal tokens are one caption to the model."""
    return {_key(caption), _digest(array("q", tokens).tobytes())}


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
