"""The addresses of pages: what is sent to a colleague."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urljoin, urlsplit


@dataclass(frozen=True)
class At:
    """A site's dictionary of ``k`` latents on, as addresses and tables name it."""

    block: str
    t: float
    conditioning: str
    k: int

    @property
    def path(self) -> str:
        """As in ``mid/0.50/cond/k10``."""
        return f"{self.block}/{self.t:.2f}/{self.conditioning}/k{self.k}"

    @property
    def columns(self) -> dict[str, Any]:
        """The columns that name it in a table."""
        return {"block": self.block, "t": self.t, "conditioning": self.conditioning, "k": self.k}

    def url(self, cid: int) -> str:
        """Of one of its concepts."""
        return f"/{quote(self.path)}/{cid}"


def at_of(row: dict[str, Any]) -> At:
    """The dictionary that a table's row is of."""
    return At(row["block"], row["t"], row["conditioning"], row["k"])


def label_url(label: str) -> str:
    """Of a label's page."""
    return f"/label/{quote(label)}"


def canonical(address: str, page: str = "/") -> str:
    """An address as it stands on a page, whole: escapes undone, and of a query the parts in order."""
    parts = urlsplit(urljoin(page, address))
    query = urlencode(sorted(parse_qsl(parts.query)))
    return unquote(parts.path) + (f"?{query}" if query else "")
