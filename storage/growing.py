"""What a source has gained: its new captions, dealt to whole shards of one split each.

A caption's split is that of its words (``storage.splits``), its prompt id that of the place where it fills a shard: the
captions of a split wait, in the order of the source, until there are ``shard_size`` of them. So shards are only ever
added, all of them full, and a source read in three steps gives the prompts that it gives when it is read at once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from storage.errors import StorageError
from storage.prompts import CaptionFilter, PromptSettings, TokenIds, hashed_seed, told
from storage.schemas import SCHEMAS
from storage.splits import folded, split_of


@dataclass(frozen=True)
class Growth:
    """New rows of ``prompts``; the split of each new shard, in order; captions that wait, by split; captions gone."""

    prompts: pa.Table
    shards: tuple[str, ...]
    waiting: dict[str, int]
    gone: int


def grow_prompts(
    settings: PromptSettings,
    token_ids: TokenIds,
    context: int,
    seed: int,
    known: pa.Table,
    dropped: Counter[str] | None = None,
) -> Growth:
    """What the source has besides the prompts that are ``known``, which stay whatever the source has of them now.

    ``token_ids``, ``context`` and ``dropped`` are those of ``plan_prompts``; a prompt's seed follows from the
    study's and its caption. Raises ``StorageError`` as that does, and for a first reading that leaves a split without a
    shard.
    """
    dropped = Counter() if dropped is None else dropped
    filters = CaptionFilter(settings, token_ids, settings.token_limit(context), dropped)
    for batch in known.select(["caption"]).to_batches():
        filters.know(batch.column("caption").to_pylist())
    dealer = _Dealer(settings, seed, known.num_rows)
    read = 0
    for batch in settings.captions().batches():
        read += len(batch)
        for row in filters.usable(batch, len(batch)):
            dealer.take(row)
    if not known.num_rows and (lacking := [name for name in settings.splits if name not in dealer.shards]):
        raise StorageError(
            f"{settings.source} has {sum(map(len, dealer.waiting.values())) + len(dealer.rows)} usable captions among "
            f"{read} rows{told(dropped)}, too few to fill one shard of {settings.shard_size} prompts for every split "
            f"({', '.join(lacking)}): give more files, or lower prompts.shard_size"
        )
    prompts = pa.Table.from_pylist(dealer.rows, schema=SCHEMAS["prompts"])
    waiting = {name: len(rows) for name, rows in dealer.waiting.items() if rows}
    return Growth(prompts, tuple(dealer.shards), waiting, len(filters.unmet))


class _Dealer:
    """Fills shards, each of one split, and numbers the prompts of those that are full."""

    def __init__(self, settings: PromptSettings, seed: int, first: int) -> None:
        self.settings, self.seed, self.next = settings, seed, first
        self.waiting: dict[str, list[dict[str, Any]]] = {name: [] for name in settings.splits}
        self.rows: list[dict[str, Any]] = []
        self.shards: list[str] = []

    def take(self, row: dict[str, Any]) -> None:
        split = split_of(row["caption"], self.settings.splits)
        waiting = self.waiting[split]
        waiting.append(row)
        if len(waiting) < self.settings.shard_size:
            return
        for of_shard in waiting:
            seed = hashed_seed(self.seed, folded(of_shard["caption"]))
            self.rows.append({**of_shard, "prompt_id": self.next, "split": split, "seed": seed})
            self.next += 1
        self.shards.append(split)
        self.waiting[split] = []
