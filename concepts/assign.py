"""Which labels a concept carries, by our rule and by the paper's."""

from __future__ import annotations

from typing import Any

from concepts.settings import LabelSettings


def assign(rows: list[dict[str, Any]], settings: LabelSettings) -> list[dict[str, Any]]:
    """Add ``assigned`` and ``paper_assigned`` to rows of ``OverlapStats.rows``; drop the helper column.

    Ours: on the selection half (even prompt ids) the pooled IoU is at least ``assign_iou``; over all images concept
    and label were on together in ``assign_images`` images and overlap ``assign_lift`` times more than their
    positions alone explain, the IoU two standard errors above zero. The paper's: IoU > 0.5 in at least one image.
    """
    assigned = []
    for row in rows:
        kept = {name: value for name, value in row.items() if name != "iou_selection"}
        ours = (
            row["iou_selection"] >= settings.assign_iou
            and row["n_co"] >= settings.assign_images
            and (row["lift"] or 0.0) >= settings.assign_lift
            and row["iou"] - 2 * row["iou_se"] > 0
        )
        assigned.append({**kept, "assigned": bool(ours), "paper_assigned": row["n_hit50"] > 0})
    return assigned
