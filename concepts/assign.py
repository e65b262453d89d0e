"""Which labels a concept carries, by our rule and by the paper's."""

from __future__ import annotations

from typing import Any

from concepts.settings import LabelSettings


def assign(rows: list[dict[str, Any]], settings: LabelSettings) -> list[dict[str, Any]]:
    """Add ``assigned`` and ``paper_assigned`` to rows of ``OverlapStats.rows``; drop the helper columns.

    Ours: on the selection half (even prompt ids) the IoU pooled over all images is at least ``assign_iou`` and two
    standard errors above zero; over all images concept and label were on together in ``assign_images`` images and
    overlap ``assign_lift`` times more than their positions alone explain. The paper's: IoU > 0.5 in one image.
    """
    assigned = []
    for row in rows:
        kept = {name: value for name, value in row.items() if name not in ("iou_selection", "se_selection")}
        ours = (
            row["iou_selection"] >= settings.assign_iou
            and row["iou_selection"] > 2 * row["se_selection"]
            and row["n_co"] >= settings.assign_images
            and (row["lift"] or 0.0) >= settings.assign_lift
        )
        assigned.append({**kept, "assigned": bool(ours), "paper_assigned": row["n_hit50"] > 0})
    return assigned
