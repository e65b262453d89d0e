"""What a study has drawn last, small enough for the page of a run: the end of its newest images or edits."""

from __future__ import annotations

import base64
import contextlib
import time
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from storage.images import decode_png, thumbnail
from storage.tables import table_folder

TABLES = {"images": "Images of the study", "interventions": "Edited images"}
SHOWN, HEIGHT = 4, 128  # pictures side by side, pixels high: some 20 kB, sent with each change of the page
REST_S = 10.0  # between two looks: the pictures of a unit are there at once, and units take longer


class LastPictures:
    """The last pictures in a study's tables, looked for no oftener than every ``REST_S`` seconds."""

    def __init__(self, root: str | Path) -> None:
        self._root, self._next, self._known = Path(root), float("-inf"), ""
        self._shown: tuple[Path, int] | None = None

    def markdown(self) -> str:
        """A line that says what they are, and the picture; empty while there is none."""
        if time.monotonic() >= self._next:
            with contextlib.suppress(OSError, ValueError):  # a part that is just being replaced: it is there next time
                self._look()
            self._next = time.monotonic() + REST_S
        return self._known

    def forget(self) -> None:
        """Have the next call look again."""
        self._next = float("-inf")

    def _look(self) -> None:
        parts = {part: table for table in TABLES for part in table_folder(self._root, table).glob("*.parquet")}
        if not parts:
            return
        when, newest = max((part.stat().st_mtime_ns, part) for part in parts)
        if (newest, when) == self._shown:
            return
        rows = pq.read_table(newest, columns=["prompt_id", "image"])
        rows = rows.filter(pc.is_valid(rows["image"]))  # edits may be made without being kept
        rows = rows.slice(max(rows.num_rows - SHOWN, 0))
        self._shown = newest, when
        if rows.num_rows:
            self._known = _strip(TABLES[parts[newest]], rows["prompt_id"].to_pylist(), rows["image"].to_pylist())


def _strip(what: str, prompts: list[int], encoded: list[bytes]) -> str:
    pictures = [_small(decode_png(data)) for data in encoded]
    kind, data = thumbnail(np.concatenate(pictures, axis=1))
    told = f"{what}, the last: prompt {', '.join(map(str, prompts))}"
    return f"{told}\n\n![{told}](data:image/{kind};base64,{base64.b64encode(data).decode()})"


def _small(image: np.ndarray) -> np.ndarray:
    if image.shape[0] <= HEIGHT:
        return image
    width = max(round(image.shape[1] * HEIGHT / image.shape[0]), 1)
    return np.asarray(Image.fromarray(image).resize((width, HEIGHT), Image.Resampling.LANCZOS))
