"""Views: what queries join of several tables often enough to have a name. No part of them is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from storage.declaring import SITE_KEY
from storage.schemas import SCHEMAS


@dataclass(frozen=True)
class View:
    """One view, declared once.

    ``of``: table -> the columns of it that the view has, in order; ``source``: what stands behind FROM, in which every
    table goes by its own name. What is joined to the first table may be null.
    """

    name: str
    means: str
    key: tuple[str, ...]
    of: Mapping[str, tuple[str, ...]]
    source: str

    @cached_property
    def columns(self) -> tuple[pa.Field, ...]:
        """As their tables declare them."""
        first = next(iter(self.of))
        fields = ((table, SCHEMAS[table].field(name)) for table, names in self.of.items() for name in names)
        return tuple(field if table == first else field.with_nullable(True) for table, field in fields)

    @property
    def sql(self) -> str:
        """The query that it stands for."""
        columns = ", ".join(f'"{table}"."{name}"' for table, names in self.of.items() for name in names)
        return f"SELECT {columns} FROM {self.source}"


_CONCEPT = (*SITE_KEY, "cid")

_VIEWS = (
    View(
        "concept_scores",
        "Every concept of a trained SAE, how well it detects its label and whether it brings it about: a row for each "
        "kind of edit and window that it was tried in by `concepts atlas`, or one without both.",
        key=(*_CONCEPT, "kind", "window"),
        of={
            "concepts": (*_CONCEPT, "alive", "density", "n_images"),
            "concept_labels": ("label", "iou_selection", "iou_heldout", "iou_heldout_se"),
            "concept_causes": (
                *("kind", "window", "effect", "random_effect", "above_random"),
                *("above_random_ci_low", "above_random_ci_high", "p", "q", "n_prompts"),
            ),
        },
        source=f"""concepts LEFT JOIN concept_causes USING ({", ".join(_CONCEPT)})
LEFT JOIN (FROM concept_labels WHERE kind = 'trained') AS concept_labels
ON concept_labels.label = coalesce(concept_causes.label, concepts.top_label)
AND {" AND ".join(f"concept_labels.{name} = concepts.{name}" for name in _CONCEPT)}""",
    ),
)
VIEWS: dict[str, View] = {view.name: view for view in _VIEWS}
