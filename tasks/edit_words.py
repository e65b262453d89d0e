"""An edit in a few lines of text."""

from __future__ import annotations

from typing import Any

from concepts.cases import EVERYWHERE
from tasks.one_edit import PICTURES


def told(row: dict[str, Any]) -> list[str]:
    """What was done, what the judge says, and how much the pictures changed. ``row`` is of the table ``edits``."""
    done = f"{row['operation']} {row['concept']}{_instead(row)}"
    lines = [f"{done}, strength {row['strength']:g}, window {row['window']}, {_where(row)}"]
    for site, cids, unit in zip(row["sites"], row["cids"], row["unit_norms"], strict=True):
        lines.append(f"{site}: concepts {', '.join(map(str, cids))}; unit of strength {unit:.3g}")
    if row["judged"] is not None:
        shown = ", ".join(f"{name} {row[f'score_{name}']:.2f}{_placed(row, name)}" for name in PICTURES)
        lines.append(f"judge's score of {row['judged']}: {shown}")
    lines.append(f"pixels changed by: edit {_changed(row, '')}; control {_changed(row, 'control_')}")
    return lines


def _instead(row: dict[str, Any]) -> str:
    return f" instead of {row['instead_of']}" if row["instead_of"] else ""


def _where(row: dict[str, Any]) -> str:
    return row["region"] if row["region"] == EVERYWHERE else f"region {row['region']}"


def _placed(row: dict[str, Any], name: str) -> str:
    return "" if row[f"placed_{name}"] is None else " (in the region)" if row[f"placed_{name}"] else " (not in it)"


def _changed(row: dict[str, Any], prefix: str) -> str:
    inside, outside = (row[f"{prefix}change_{side}"] for side in ("inside", "outside"))
    return f"{inside:.3f}" if outside is None else f"{inside:.3f} inside, {outside:.3f} outside"
