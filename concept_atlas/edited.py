"""One edit that was asked for: its three images and what is known of them."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from concept_atlas.html import named_pictures

if TYPE_CHECKING:
    from tasks.one_edit import OneEdit

HEIGHT = 192  # pixels of a picture in a notebook


class Edited:
    """The image before, after and under the control, each a PIL image, and the row that `concepts edit` would write."""

    def __init__(self, made: OneEdit) -> None:
        self._made = made
        self.row: dict[str, Any] = dict(made.row)
        self.before, self.after, self.control = (Image.fromarray(image) for image in made.images.values())

    @property
    def cautions(self) -> list[str]:
        """Sentences on what may surprise; empty where nothing should."""
        return list(self.row["cautions"])

    def save(self, folder: str | Path) -> list[Path]:
        """Write the pictures and the row into a folder, as `concepts edit --out FOLDER` does. Returns the files.

        Raises an ``AtlasError`` for a folder of a study, or one that cannot be written.
        """
        from tasks.edit_files import refuse_study, write_edit

        refuse_study(folder)
        return write_edit(Path(folder), self._made)

    def __repr__(self) -> str:
        return f"<Edited {self.row['edit']}: {self.row['operation']} {self.row['concept']}>"

    def _repr_html_(self) -> str:
        from tasks.edit_words import told

        lines = "".join(f"<div>{escape(line)}</div>" for line in (*told(self.row), *self.cautions))
        return f"<div><b>{escape(self.row['prompt'])}</b>{named_pictures(self._made.images, HEIGHT)}{lines}</div>"
