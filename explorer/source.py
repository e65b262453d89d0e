"""What pages read of a study, kept while nothing new is written: every answer belongs to one state of the folder."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

import pyarrow as pa
import pyarrow.compute as pc

import concept_atlas
from concept_atlas import Atlas, AtlasError, SiteView

T = TypeVar("T")
U = TypeVar("U")
KEPT_ANSWERS, KEPT_BYTES = 512, 40 * 2**20  # of tables, as Arrow holds them
KEPT_VIEWS = 1  # it may hold half of its dictionary: 26 MB at 5120 concepts of 1280 channels, read again in 30 ms
VIEWS_OF_ALL = 16  # all times of a block, which the pages of its concepts show together
LOOKED_THROUGH = ("concept_labels", "concepts", "concept_examples", "concept_activity", "concept_matches")
LOOKED_THROUGH_BYTES = 8 * 2**30  # ten seconds of a processor: three full studies of the paper's
TRAINED = "trained"  # the kind of the dictionaries that have pages
FAULTS = (AtlasError, OSError, pa.ArrowException)  # what a table says that is written anew just now, or damaged


class Source:
    """A study folder for many requests at once: several threads may ask."""

    def __init__(
        self, root: str | Path, models: Sequence[str] = (), all_pages: bool = False, other: Source | None = None
    ) -> None:
        """``models``: settings that tell where the study's models are by now. ``other``: a study to compare with.

        ``all_pages``: that the pages of many concepts will be asked, dictionary by dictionary. Tables are then read a
        dictionary at a time instead of a concept, and more dictionaries are kept.

        Raises ``AtlasError`` for a folder that holds no study, or one of a newer version.
        """
        self._root, self.models, self.other = root, tuple(models), other
        self._all, self._most_views = all_pages, VIEWS_OF_ALL if all_pages else KEPT_VIEWS
        self._lock = threading.RLock()
        self._answers: OrderedDict[Hashable, pa.Table] = OrderedDict()
        self._held = 0  # bytes of these
        self._views: OrderedDict[Hashable, SiteView] = OrderedDict()
        self._made: dict[str, Any] = {}
        self._open()
        self._stamp = self.atlas.stamp

    def _open(self) -> None:
        self.atlas: Atlas = concept_atlas.open(self._root)
        self.atlas.hold_parts()
        self._in_sql: dict[str, Any] = {}  # what `Atlas.open_tables` returns

    def refreshed(self) -> Source:
        """Itself, without what no longer holds if the folder has changed since the last call."""
        if self.other is not None:
            self.other.refreshed()
        stamp = self.atlas.stamp
        with self._lock:
            if stamp != self._stamp:
                self.forget()
                self._open()  # it may have other settings, or have grown
                self._stamp = stamp
        return self

    def forget(self) -> None:
        """Drop everything that is kept."""
        if self.other is not None:
            self.other.forget()
        with self._lock:
            self._answers.clear()
            self._held = 0
            self._views.clear()
            self._made.clear()
            self.atlas.hold_parts()

    def rows(self, table: str, columns: list[str] | None = None, **where: Any) -> list[dict[str, Any]]:
        """The rows of a table that have the given values, as ``Atlas.rows`` has them."""
        return list(self.arrow(table, columns, **where).to_pylist())

    def arrow(self, table: str, columns: list[str] | None = None, **where: Any) -> pa.Table:
        """The same as an Arrow table."""
        if self._all and isinstance(where.get("cid"), int):
            return self._of_one(table, columns, **where)
        key = (table, tuple(columns or ()), tuple(sorted((name, str(value)) for name, value in where.items())))
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
                return self._answers[key]
        answer = self.atlas.rows(table, columns, where)
        with self._lock:
            self._held += answer.nbytes - (self._answers[key].nbytes if key in self._answers else 0)
            self._answers[key] = answer
            while len(self._answers) > KEPT_ANSWERS or self._held > KEPT_BYTES:
                self._held -= self._answers.popitem(last=False)[1].nbytes
        return answer

    def labelled(self, sql: str, *values: Any) -> pa.Table:
        """The answer to a statement over ``concept_labels``, with values for its question marks.

        A label's rows are few among a hundred thousand in each of many parts, and SQL reads little else.
        """
        return self._opened("concept_labels").query(sql, values)

    def labels_of(self, at: dict[str, Any], cid: int, columns: Sequence[str]) -> list[dict[str, Any]]:
        """The rows of ``concept_labels`` of one concept of the dictionary that the columns ``at`` name."""
        where = {**at, "kind": TRAINED, "cid": cid}
        if self._all:
            return self.rows("concept_labels", list(columns), **where)
        return list(self._opened("concept_labels").rows("concept_labels", columns, where).to_pylist())

    def numbered(self, cid: int, columns: Sequence[str]) -> list[dict[str, Any]]:
        """The rows of ``concepts`` of the concepts of every dictionary that bear a number, in no promised order."""
        return list(self._opened("concepts").rows("concepts", columns, {"cid": cid}).to_pylist())

    def _opened(self, table: str) -> Any:
        """A table for SQL, opened when it is first asked: the first page asks none, and does not wait for DuckDB."""
        with self._lock:
            if table not in self._in_sql:
                self._in_sql[table] = self.atlas.open_tables(table)
            return self._in_sql[table]

    def _of_one(self, table: str, columns: list[str] | None, cid: int, **where: Any) -> pa.Table:
        """The rows of one concept, out of those of its dictionary."""
        whole = self.arrow(table, None if columns is None else list(dict.fromkeys(["cid", *columns])), **where)
        own = whole.filter(pc.equal(whole["cid"], cid))
        return own if columns is None else own.select(columns)

    def kept(self, name: str, make: Callable[[], T]) -> T:
        """What ``make`` returns, made once for each state of the folder."""
        with self._lock:
            if name in self._made:
                return cast(T, self._made[name])
        made = make()
        with self._lock:
            self._made[name] = made
        return made

    def view(self, block: str, t: float, conditioning: str, k: int) -> SiteView:
        """A site and its dictionary. Raises ``AtlasError`` for one that the study does not have."""
        key = (block, round(t, 2), conditioning, k)
        with self._lock:
            if key not in self._views:
                self._views[key] = self.atlas.at(block, t, conditioning, k)
            self._views.move_to_end(key)
            while len(self._views) > self._most_views:
                self._views.popitem(last=False)
            return self._views[key]

    @staticmethod
    def together(*asks: Callable[[], Any]) -> list[Any]:
        """What each of them returns, asked at the same time: reading and hashing files leaves Python to the others."""
        with ThreadPoolExecutor(len(asks)) as pool:
            return [answer.result() for answer in [pool.submit(ask) for ask in asks]]

    def look_through(self) -> int:
        """Hash in advance what the first page of each dictionary would wait for; see ``Atlas.check_ahead``."""
        return self.atlas.check_ahead(LOOKED_THROUGH, LOOKED_THROUGH_BYTES)

    def tried(self, ask: Callable[[], T], otherwise: U) -> tuple[T | U, str]:
        """What ``ask`` returns and no words, or ``otherwise`` and the sentence that says why: asked twice at most."""
        try:
            return self.again(ask), ""
        except AtlasError as error:
            return otherwise, str(error)

    def again(self, ask: Callable[[], T]) -> T:
        """What ``ask`` returns; asked once more if a table was replaced while it was read."""
        try:
            return ask()
        except FAULTS:
            self.forget()
            return ask()
