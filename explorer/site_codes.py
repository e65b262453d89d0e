"""The codes of images for an exported site: each image of a site encoded once, whoever asks for its maps."""

from __future__ import annotations

import base64
from collections import OrderedDict

import numpy as np

from concept_atlas import Codes
from explorer.addresses import At
from explorer.concept_page import cells
from explorer.image_page import facts_of, layouts, masks, strongest_first
from explorer.missing import concepts_of, every_dictionary
from explorer.rewriting import Attributes
from explorer.source import Source

KEPT_BYTES = 256 * 2**20


class SiteCodes:
    """Codes by dictionary and image, those that were asked for last."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._at = {at.path: at for at in every_dictionary(source)}
        self._kept: OrderedDict[tuple[At, int], Codes | str] = OrderedDict()
        self._held = 0
        self._layouts: dict[tuple[str, int], dict[str, np.ndarray]] = {}
        self._grids: dict[str, str] = {}
        self._unread: dict[tuple[str, int], str] = {}
        self._masks: dict[int, dict[str, Attributes]] = {}

    def predict(self, images: list[int]) -> None:
        """Layouts of images at every dictionary, a dictionary at a time: pages ask for them the other way round."""
        for path, at in self._at.items():
            for prompt_id in images:
                codes = self._codes(at, prompt_id)
                if isinstance(codes, str):
                    self._unread[path, prompt_id] = codes
                    continue
                self._grids[path] = "{} {}".format(*codes.cids.shape[:2])
                self._predicted(at, prompt_id, codes)

    def _predicted(self, at: At, prompt_id: int, codes: Codes) -> dict[str, np.ndarray]:
        """Label -> the numbers of the cells where it is predicted; worked out once for each image and dictionary."""
        key = (at.path, prompt_id)
        if key not in self._layouts:
            found = layouts(self._source, self._source.view(*at.columns.values()), prompt_id, codes)
            self._layouts[key] = {label: np.asarray(cells, np.uint16) for label, cells in found.items()}
        return self._layouts[key]

    def layout(self, path: str, prompt_id: int, label: str) -> Attributes:
        """What an element has that shows where a label is predicted, of an image that was predicted."""
        if said := self._unread.get((path, prompt_id)):
            return {"class": "unread", "title": said}
        found = self._layouts[path, prompt_id]
        on = {"data-on": " ".join(map(str, found[label]))} if label in found else {}
        return {"data-grid": self._grids[path], **on}

    def mask(self, prompt_id: int, label: str) -> Attributes:
        """What an element has that shows a label's mask in an image."""
        if prompt_id not in self._masks:
            found = masks(self._source, str(prompt_id))["masks"]
            self._masks[prompt_id] = {
                name: {"data-size": one["size"], "data-runs": one["runs"]} for name, one in found.items()
            }
        return self._masks[prompt_id][label]

    def cells(self, path: str, prompt_id: int, cid: int) -> Attributes:
        """What an element has that shows the map of one concept, or says why there is none."""
        codes = self._codes(self._at[path], prompt_id)
        if isinstance(codes, str):
            return {"class": "unread", "title": codes}
        heat = codes.map(cid)
        on = np.flatnonzero(heat)
        return {"data-grid": f"{heat.shape[0]} {heat.shape[1]}", "data-cells": cells(on, heat.ravel()[on])}

    def packed(self, at: At, prompt_id: int) -> dict[str, object]:
        """What ``image_page.codes`` answers, with its cells as bytes in base64; or ``said``, why there is nothing."""
        codes = self._codes(at, prompt_id)
        if isinstance(codes, str):
            return {"said": codes}
        return {
            "path": at.path,
            "grid": list(codes.cids.shape[:2]),
            **packed(codes),
            "layouts": {label: on.tolist() for label, on in self._predicted(at, prompt_id, codes).items()},
            "concepts": facts_of(concepts_of(self._source, at), codes),
        }

    def _codes(self, at: At, prompt_id: int) -> Codes | str:
        """The codes, or the sentence that says why they cannot be read."""
        key = (at, prompt_id)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        source = self._source
        around, problem = source.tried(
            lambda: source.view(*at.columns.values()).codes_around(prompt_id), dict[int, Codes]()
        )
        told: dict[int, Codes | str] = {**around} if around else {prompt_id: problem}
        for number, found in told.items():
            if (at, number) not in self._kept:
                self._kept[at, number] = found
                self._held += _size(found)
        self._kept.move_to_end(key)
        found = self._kept[key]
        while self._held > KEPT_BYTES:
            self._held -= _size(self._kept.popitem(last=False)[1])
        return found


def packed(codes: Codes) -> dict[str, object]:
    """``cells``: of each cell, row by row, its concepts, strongest first, as offline/places.js reads them.

    Little-endian, in base64: the CID in ``cid_bytes``, which are 2 or 4, and the activation in four.
    """
    ordered = strongest_first(codes)
    cid_bytes = 2 if codes.cids.max(initial=0) < 2**16 else 4
    pairs = np.empty(codes.cids.shape, [("cid", f"<u{cid_bytes}"), ("value", "<f4")])
    pairs["cid"], pairs["value"] = ordered.cids, ordered.values
    return {"cid_bytes": cid_bytes, "cells": base64.b64encode(pairs.tobytes()).decode()}


def _size(codes: Codes | str) -> int:
    return len(codes) if isinstance(codes, str) else codes.cids.nbytes + codes.values.nbytes
