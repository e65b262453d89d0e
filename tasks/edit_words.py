"""An edit in a few lines of text."""

from __future__ import annotations

from typing import Any

from concepts.cases import EVERYWHERE
from tasks.edit_scores import PICTURES


def told(row: dict[str, Any]) -> list[str]:
    """What was done, what the judge says, and how much the pictures changed. ``row`` is of the table ``edits``."""
    lines = [line for part in (row, *row["more_parts"]) for line in _part(part)]
    if row["judged"] is not None:
        shown = ", ".join(f"{name} {row[f'score_{name}']:.2f}{_placed(row, name)}" for name in PICTURES)
        lines.append(f"judge's score of {row['judged']}: {shown}")
        if row["controls"] > 1:
            middle = f"{row['score_control_low']:.2f} to {row['score_control_high']:.2f}"
            lines.append(
                f"{row['controls']} controls: mean {row['score_control_mean']:.2f}, 95 % of them {middle}; "
                f"the edit is above {row['above_controls']:.0%} of them{_among(row)}"
            )
    lines.append(f"pixels changed by: edit {_changed(row, '')}; control {_changed(row, 'control_')}")
    if row["off_distribution_after"] is not None:
        lines.append(
            f"activations off their usual distribution: edit {_off(row, 'after')}; control {_off(row, 'control')}"
        )
    return lines


def _part(part: dict[str, Any]) -> list[str]:
    done = f"{part['operation']} {part['concept']}{_instead(part)}"
    lines = [f"{done}, strength {part['strength']:g}{_scheduled(part)}, window {part['window']}, {_where(part)}"]
    for site, cids, unit in zip(part["sites"], part["cids"], part["unit_norms"], strict=True):
        lines.append(f"{site}: concepts {', '.join(map(str, cids))}; unit of strength {unit:.3g}")
    return lines


def _scheduled(part: dict[str, Any]) -> str:
    scheduled = f" by schedule {part['schedule']}" if part["schedule"] else ""
    return scheduled + (f", quantile {part['quantile']:g}" if part["quantile"] is not None else "")


def _instead(row: dict[str, Any]) -> str:
    return f" instead of {row['instead_of']}" if row["instead_of"] else ""


def _where(row: dict[str, Any]) -> str:
    region = row["region"]
    if region.startswith("cells:"):
        _, size, digits = region.split(":")
        return f"{int(digits, 16).bit_count()} painted cells of {size}"
    return str(region) if region == EVERYWHERE else f"region {region}"


def _placed(row: dict[str, Any], name: str) -> str:
    return "" if row[f"placed_{name}"] is None else " (in the region)" if row[f"placed_{name}"] else " (not in it)"


def _among(row: dict[str, Any]) -> str:
    share = row["placed_controls"]
    return "" if share is None else f"; in the region of {share:.0%} of them"


def _changed(row: dict[str, Any], prefix: str) -> str:
    inside, outside = (row[f"{prefix}change_{side}"] for side in ("inside", "outside"))
    return f"{inside:.3f}" if outside is None else f"{inside:.3f} inside, {outside:.3f} outside"


def _off(row: dict[str, Any], picture: str) -> str:
    here, behind = row[f"off_distribution_{picture}"], row[f"off_downstream_{picture}"]
    return f"{here:.2f} times as far as unedited" + ("" if behind is None else f", {behind:.2f} in the blocks behind")
