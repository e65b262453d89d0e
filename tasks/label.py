"""Labelling: which concept fires where a labelled mask lies, for one (site, k): its SAE, its relative, its controls.

The codes of the dictionary split are computed once for each encoder and passed over again and again: the ranges of the
maps, the concepts' own statistics and examples, then the exact overlaps with the labelled cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from concepts.activity import scan_activity
from concepts.embeddings import concept_embeddings
from concepts.hierarchy import common_parent, load_hierarchy
from concepts.label_summary import summarise
from concepts.label_table import LabelTable, label_table, labels_met, taken, top_labels, worth_keeping
from concepts.overlap import OverlapStats
from concepts.overlap_pass import SHUFFLED_POSITIONS
from concepts.properties import ColourSums, cohesion, coverage, position_selectivity, separability
from concepts.scan import ConceptScan, find_examples, scan_concepts, scan_ranges
from sae.model import SAE
from storage.site import Site
from storage.tables import as_table
from study.at import Dictionary
from study.embedder import prepared_vectors
from study.publish import publish
from study.reading import study_labels
from study.saes import HELD, SHARED, TRAINED, UNTRAINED
from study.study import Study
from tasks.controls import control_encoders
from tasks.learning import concept_origins
from tasks.overlaps import overlap_sums

WHOLE = (TRAINED, SHARED, UNTRAINED, *HELD)  # of the other controls only what a rule takes is kept


def label_concepts(study: Study, site: Site, k: int) -> dict[str, Any]:
    """Write one SAE's parts of ``concepts``, ``concept_activity``, ``concept_labels`` and ``concept_examples``.

    And of ``label_controls``; of the SAE of all times, ``shared_concepts`` too.
    """
    here = study.at(site, k)
    labelling = Labelling(here)
    assigned = labelling.trained()
    labelling.shared()
    for kind, sae in control_encoders(here, labelling.sae):
        labelling.control(kind, sae)
    publish(study, "label", here.name, labelling.tables())
    return {**here.columns, "assigned": assigned}


class Labelling:
    """The labels of one (site, k), collected encoder by encoder."""

    def __init__(self, here: Dictionary) -> None:
        self.here, self.settings = here, here.study.config.labels
        self.sae = here.sae()
        self.labels = study_labels(here.study)
        vectors = prepared_vectors(here.study, self.labels)
        self.vectors = dict(zip(self.labels, vectors, strict=True))
        self._label_tables: list[pa.Table] = []
        self._controls: list[dict[str, Any]] = []
        self._others: dict[str, pa.Table | list[dict[str, Any]]] = {"shared_concepts": []}

    def trained(self) -> int:
        """The dictionary itself, and its codes against masks out of place. Returns how many labels are assigned."""
        with self.here.codes_on_disk(self.sae, "dictionary") as codes:
            scan, activity = scan_activity(codes, self.here.grid, self.settings.examples_by)
            colours = ColourSums(self.sae.n)
            stats = overlap_sums(self.here, codes, scan.act_max, colours)
            moved = overlap_sums(self.here, codes, scan.act_max, shuffle=True)
            examples = find_examples(codes, scan, self.settings.bins, self.settings.examples_per_concept)
        table = self._take(TRAINED, stats)
        self._take(SHUFFLED_POSITIONS, moved)
        self._others["concepts"] = self._concepts(scan, stats, table, colours)
        self._others["concept_activity"] = as_table("concept_activity", activity.columns(), self.here.columns)
        self._others["concept_examples"] = as_table("concept_examples", examples, self.here.columns)
        return int(table.columns["assigned"].sum())

    def shared(self) -> None:
        """The SAE of all times, as it is at this site; nothing without such an SAE."""
        if not self.here.study.config.sae.across_time:
            return
        sae = self.here.sae(SHARED)
        with self.here.codes_on_disk(sae, "dictionary") as codes:
            scan = scan_concepts(codes, self.here.grid)
            stats = overlap_sums(self.here, codes, scan.act_max)
        table = self._take(SHARED, stats)
        columns = scan.columns()
        del columns["context_free_score"]
        top = _top_columns(table, sae.n, ("label", "iou", "iou_selection", "iou_heldout", "iou_heldout_se"))
        top["top_label"] = top.pop("label")
        self._others["shared_concepts"] = as_table("shared_concepts", columns | top, self.here.columns)

    def control(self, kind: str, sae: SAE) -> None:
        """One control, counted exactly like the dictionary."""
        with self.here.codes_on_disk(sae, "dictionary") as codes:
            stats = overlap_sums(self.here, codes, scan_ranges(codes, self.here.grid).act_max)
        self._take(kind, stats)

    def tables(self) -> dict[str, Any]:
        """Every table's rows, by table."""
        joined = pa.concat_tables(self._label_tables)
        return {"concept_labels": joined, "label_controls": self._controls, **self._others}

    def _take(self, kind: str, stats: OverlapStats) -> LabelTable:
        """Add one encoder's rows of ``label_controls`` and ``concept_labels``. Returns all its pairs."""
        table = label_table(stats, self.settings)
        kept = worth_keeping(table, self.settings) if kind in WHOLE else taken(table)
        self._label_tables.append(as_table("concept_labels", kept.columns, {**self.here.columns, "kind": kind}))
        pure = cohesion(table.columns, self.vectors, stats.n)
        purity = float(np.nanmean(pure)) if np.isfinite(pure).any() else None
        apart = separability(concept_embeddings(table.columns, self.vectors, stats.n))
        row = {**self.here.columns, "kind": kind, **summarise(stats, table)}
        self._controls.append(row | {"cohesion": purity, "separability": None if np.isnan(apart) else float(apart)})
        return table

    def _concepts(self, scan: ConceptScan, stats: OverlapStats, table: LabelTable, colours: ColourSums) -> pa.Table:
        with torch.no_grad():
            norms = self.sae.concept_vectors().norm(dim=1).cpu().numpy()
        embeddings = concept_embeddings(table.columns, self.vectors, self.sae.n)
        share, spread = coverage(scan.images_on, scan.count, scan.count2, scan.n_cells)
        mean_colour = colours.mean()
        columns = scan.columns() | {
            "top_label": _top_columns(table, self.sae.n, ("label",))["label"],
            "embedding": [None if np.isnan(row).any() else row for row in embeddings],
            "decoder_norm": norms,
            **concept_origins(self.here, self.sae),
            "cohesion": cohesion(table.columns, self.vectors, self.sae.n),
            "parent": self._parents(table),
            "coverage": share,
            "coverage_sd": spread,
            "position_selectivity": position_selectivity(stats.on_cells.sum(0)),
            "colour_selectivity": colours.selectivity(),
            "colour": [None if np.isnan(row).any() else row for row in mean_colour],
        }
        return as_table("concepts", columns, self.here.columns)

    def _parents(self, table: LabelTable) -> list[str | None]:
        """The broader label of every concept that meets several labels which have one in common."""
        parents: list[str | None] = [None] * self.sae.n
        if self.settings.hierarchy:
            hierarchy = load_hierarchy(self.settings.hierarchy, self.labels)
            for cid, labels in labels_met(table, self.settings).items():
                parents[cid] = common_parent(labels, hierarchy)
        return parents


def _top_columns(table: LabelTable, n_concepts: int, names: tuple[str, ...]) -> dict[str, list[Any]]:
    """Some columns of each concept's top label; None for a concept without one."""
    top = top_labels(table)
    columns: dict[str, list[Any]] = {name: [None] * n_concepts for name in names}
    for cid, row in top.items():
        for name in names:
            columns[name][cid] = table.columns[name][row]
    return columns
