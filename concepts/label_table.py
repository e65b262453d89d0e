"""The rows of ``concept_labels``: every (concept, label) with its evidence, and which are labels, by two rules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from concepts.evidence import copresent_iou, expected_inter, iou_of, p_values, pair_sums, q_values
from concepts.overlap import HELDOUT, SELECTION, OverlapStats
from concepts.settings import LabelSettings


@dataclass(frozen=True)
class LabelTable:
    """Columns of ``concept_labels`` by name, arrays of one length, sorted by (cid, label); and the tests behind q."""

    columns: dict[str, np.ndarray]
    n_tests: int

    def __len__(self) -> int:
        return len(self.columns["cid"])

    def where(self, keep: np.ndarray) -> LabelTable:
        """The rows that a mask or an index selects."""
        chosen = {name: values[keep] for name, values in self.columns.items()}
        return LabelTable(chosen, self.n_tests)


def label_table(stats: OverlapStats, settings: LabelSettings) -> LabelTable:
    """Every (concept, label) whose maps ever touched, with its evidence and both rules.

    Ours, ``assigned``, asks the selection half alone: the pooled IoU is at least ``assign_iou``, the pair is a
    discovery at the false discovery rate ``assign_fdr`` among all pairs of a concept that fires and a label that
    occurs, the two are on together in ``assign_images`` images and overlap ``assign_lift`` times more than their
    positions alone explain. So the held-out half is free to say how good the labels are. The paper's,
    ``paper_assigned``: IoU > 0.5 in one image (section 3).
    """
    labels = sorted(stats.pairs)
    parts = [_evidence(stats, label, number) for number, label in enumerate(labels)]
    if not parts:
        return _empty()
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((joined["label"], joined["cid"]))
    columns = {name: values[order] for name, values in joined.items()}
    tests = int((stats.on_images[SELECTION, 0] > 0).sum()) * sum(
        bool(s.images[SELECTION]) for s in stats.labels.values()
    )
    columns["label"] = np.array(labels, object)[columns["label"]]
    columns["q_value"] = q_values(columns["p_value"], max(tests, len(order)))
    columns["assigned"] = (
        (columns["iou_selection"] >= settings.assign_iou)
        & (columns["n_co_selection"] >= settings.assign_images)
        & _met(columns, settings)
    )
    columns["paper_assigned"] = columns["n_hit50"] > 0
    return LabelTable(columns, tests)


def _met(columns: dict[str, np.ndarray], settings: LabelSettings) -> np.ndarray:
    """bool [rows]: whether concept and label meet more than chance, and than place, on the selection half."""
    discovered = columns["q_value"] <= settings.assign_fdr
    return discovered & (np.nan_to_num(columns["lift_selection"]) >= settings.assign_lift)


def worth_keeping(table: LabelTable, settings: LabelSettings) -> LabelTable:
    """The rows that the tables hold: those of some overlap, and every one that either rule takes."""
    columns = table.columns
    return table.where((columns["iou"] >= settings.keep_iou) | columns["assigned"] | columns["paper_assigned"])


def taken(table: LabelTable) -> LabelTable:
    """The rows that either rule takes."""
    return table.where(table.columns["assigned"] | table.columns["paper_assigned"])


def top_labels(table: LabelTable) -> dict[int, int]:
    """cid -> row of its assigned label of highest IoU on the selection half; the first label of equals."""
    rows = np.flatnonzero(table.columns["assigned"])
    best: dict[int, int] = {}
    for row in rows[np.argsort(-table.columns["iou_selection"][rows], kind="stable")]:
        best.setdefault(int(table.columns["cid"][row]), int(row))
    return best


def labels_met(table: LabelTable, settings: LabelSettings) -> dict[int, list[str]]:
    """cid -> the labels it meets more than chance, by q-value and lift and whatever their IoU, for concepts with any.

    A concept of animals meets dogs and cats alike, and has with neither the IoU that a concept of dogs has.
    """
    columns = table.columns
    met: dict[int, list[str]] = {}
    for row in np.flatnonzero(_met(columns, settings)):
        met.setdefault(int(columns["cid"][row]), []).append(str(columns["label"][row]))
    return met


def _evidence(stats: OverlapStats, label: str, number: int) -> dict[str, np.ndarray]:
    """One label's columns over the concepts that ever touched it; ``label`` is its number."""
    pair, sums = pair_sums(stats, label), stats.labels[label]
    cid = np.flatnonzero(pair["inter"])
    both, selection, heldout = (
        iou_of(stats, label),
        iou_of(stats, label, (SELECTION,)),
        iou_of(stats, label, (HELDOUT,)),
    )
    chosen_on = pair_sums(stats, label, (SELECTION,))
    seen = bool(stats.images[HELDOUT])
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = {
            "label": np.full(stats.n, number),
            "iou": both.value,
            "iou_se": both.error,
            "iou_selection": selection.value,
            "iou_heldout": heldout.value if seen else np.full(stats.n, np.nan),
            "iou_heldout_se": heldout.error if seen else np.full(stats.n, np.nan),
            "iou_copresent": copresent_iou(stats, label),
            "precision": pair["inter"] / stats.on.sum(0),
            "precision_heldout": pair_sums(stats, label, (HELDOUT,))["inter"] / stats.on[HELDOUT],
            "recall": pair["inter"] / sums.pixels.sum(),
            "lift": _lift(pair["inter"], expected_inter(stats, label)),
            "lift_selection": _lift(chosen_on["inter"], expected_inter(stats, label, (SELECTION,))),
            "n_co": pair["n_co"],
            "n_co_selection": chosen_on["n_co"],
            "n_hit50": pair["n_hit"],
            "ceiling": np.full(stats.n, stats.ceiling(label)),
            "p_value": p_values(stats, label),
        }
    return {"cid": cid} | {name: values[cid] for name, values in columns.items()}


def _lift(inter: np.ndarray, chance: np.ndarray) -> np.ndarray:
    return np.where(chance > 0, inter / np.where(chance > 0, chance, 1.0), np.nan)


def _empty() -> LabelTable:
    names = [f"iou{end}" for end in ("", "_se", "_selection", "_heldout", "_heldout_se", "_copresent")]
    names += ["precision", "precision_heldout", "recall", "lift", "lift_selection", "ceiling", "p_value", "q_value"]
    columns: dict[str, np.ndarray] = {name: np.zeros(0) for name in names}
    columns |= {name: np.zeros(0, np.int64) for name in ("cid", "n_co", "n_co_selection", "n_hit50")}
    columns |= {name: np.zeros(0, bool) for name in ("assigned", "paper_assigned")}
    return LabelTable(columns | {"label": np.zeros(0, object)}, 0)
