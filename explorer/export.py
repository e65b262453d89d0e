"""``concepts export-site``: the pages of the explorer as a folder that needs no server.

Every page is asked of the application itself, and its addresses are made to lead to files; what a page's script would
ask for stands in scripts that a browser loads from a folder. Pages that nothing in the folder answers have no link.
"""

from __future__ import annotations

import base64
import html
import json
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from concept_atlas import AtlasError
from explorer.addresses import canonical
from explorer.app import HERE, Site, application
from explorer.asking import Asking
from explorer.bounds import CONCEPTS, IMAGES, LABELS, MEGABYTES
from explorer.bundle import bundle
from explorer.finding import index_of
from explorer.folder import NOTE, Folder, new_folder
from explorer.guard import HEADERS
from explorer.pictures import smaller
from explorer.plan import Plan, planned
from explorer.rewriting import Attributes, rewritten
from explorer.site_codes import SiteCodes
from explorer.source import Source

PICTURE = re.compile(r"/image/(\d+)/picture")
STUDY_EDIT = re.compile(r"/image/\d+/edits/\d+/(?:after|control)")
OWN_EDIT = re.compile(r"(/edit/[^/]+)/(\w+)")
MASKS = re.compile(r"/image/(\d+)/segments")
CODES = re.compile(r"/image/(\d+)/codes(?:/(.+))?")
STATIC = re.compile(r"/static/([\w.]+)")
INDEX = "index.js"
ANSWER = "atlasAnswer(document.currentScript, {});\n"
POLICY = HEADERS["content-security-policy"].replace("img-src 'self'", "img-src 'self' data:")
POLICY = "; ".join(part for part in POLICY.split("; ") if not part.startswith(("frame-ancestors", "connect-src")))


@dataclass(frozen=True)
class Exported:
    """How many pages were written, and how many bytes all files have."""

    pages: int
    size: int


def export_site(
    root: str | Path,
    out: Path,
    concepts: int = CONCEPTS,
    images: int = IMAGES,
    megabytes: int = MEGABYTES,
    replace: bool = False,
    labels: int = LABELS,
) -> Exported:
    """Write the site of a study to ``out``; ``docs/explorer.md`` says what it holds.

    ``concepts``: pages of each dictionary at most; ``images`` and ``labels``: pages of these at most. Raises
    ``AtlasError`` for a folder without a study, an ``out`` that is taken, a page that cannot be made, and a site beyond
    ``megabytes``.
    """
    with new_folder(out, replace, megabytes) as folder:
        source = Source(root, all_pages=True)
        plan = planned(source, concepts, images, labels)
        with Asking(application(source, Site(POLICY, plan.held))) as ask:
            export = _Export(source, plan, folder, ask)
            export.site_codes.predict(plan.drawn)
            export.pages()
            export.codes()
            export.rest()
        return Exported(len(set(plan.files.values())), folder.size)


class _Export:
    """One site while it is written."""

    def __init__(self, source: Source, plan: Plan, folder: Folder, ask: Asking) -> None:
        self.source, self.plan, self.folder, self.ask = source, plan, folder, ask
        self.site_codes = SiteCodes(source)
        self.pictures: dict[int, str] = {}
        self.edited: dict[str, str] = {}
        self.scripts: set[str] = set()

    def pages(self) -> None:
        """Every page of the plan, once."""
        written: set[str] = set()
        for address, file in self.plan.files.items():
            if file not in written:
                written.add(file)
                text = self.ask(address).decode()
                self._write(file, rewritten(text, _Page(self, address, file)))

    def codes(self) -> None:
        """What fires in every place of every image that has a page, a script for each dictionary."""
        for at in self.plan.concepts:
            for number in self.plan.images:
                answer = json.dumps(self.site_codes.packed(at, number), separators=(",", ":"))
                self._write(f"image/{number}/codes/{at.path}.js", ANSWER.format(answer))

    def rest(self) -> None:
        """Scripts, the stylesheet, what the search and the lists know, and the note by which a site is known."""
        for name in sorted(self.scripts):
            self.folder.write(f"static/{name}", self._static(name))
        says = f"The explorer's pages of study {self.source.atlas.name}: open index.html. {self.plan.held}\n"
        self.folder.write(NOTE, says.encode())

    def _write(self, name: str, text: str) -> None:
        """A file, in which sentences that name the study's folder name the study instead: it goes to others."""
        self.folder.write(name, text.replace(html.escape(str(self.source.atlas.root)), self.source.atlas.name).encode())

    def _static(self, name: str) -> bytes:
        if name == INDEX:
            known = index_of(self.source, self.plan.files, self.plan.concepts, self.pictures)
            return f"globalThis.atlasIndex = {json.dumps(known, separators=(',', ':'))};\n".encode()
        if name.endswith(".js"):
            return bundle(name.removesuffix(".js"), _module).encode()
        return (HERE / "static" / name).read_bytes()

    def picture(self, number: int) -> str:
        """The file of an image, which is written when a page first shows it."""
        if number not in self.pictures:
            ending, data = smaller(self.ask(f"/image/{number}/picture"))
            self.pictures[number] = f"image/{number}.{ending}"
            self.folder.write(self.pictures[number], data)
        return self.pictures[number]

    def edited_picture(self, address: str, name: str) -> str:
        """The file of a picture of an edit, likewise. ``name``: its file's, without the ending."""
        if address not in self.edited:
            ending, data = smaller(self.ask(address))
            self.edited[address] = f"{name}.{ending}"
            self.folder.write(self.edited[address], data)
        return self.edited[address]


def _module(name: str) -> str:
    """The text of a script: the one for folders, where there is one of that name."""
    own = HERE / "offline" / f"{name}.js"
    return (own if own.exists() else HERE / "static" / f"{name}.js").read_text("utf-8")


class _Page:
    """Where a page of the site finds what it names."""

    def __init__(self, export: _Export, address: str, file: str) -> None:
        self._export, self._address, self._above = export, address, posixpath.dirname(file)

    def link(self, address: str) -> str | None:
        """The file, relative to the page; None where the site has none."""
        if address.startswith("#"):
            return address
        file = self._file(canonical(address, self._address))
        return None if file is None else quote(posixpath.relpath(file, self._above or "."))

    def _file(self, address: str) -> str | None:
        if found := PICTURE.fullmatch(address):
            return self._export.picture(int(found[1]))
        if found := CODES.fullmatch(address):
            return address.removeprefix("/")
        if STUDY_EDIT.fullmatch(address):
            return self._export.edited_picture(address, address.removeprefix("/"))
        if found := OWN_EDIT.fullmatch(address):
            page = self._export.plan.files.get(found[1])
            return page and self._export.edited_picture(address, f"{page.removesuffix('.html')}/{found[2]}")
        if found := STATIC.fullmatch(address):
            self._export.scripts.add(found[1])
            return address.removeprefix("/")
        return self._export.plan.files.get(address)

    def inline(self, address: str) -> str:
        """A picture as a data: address."""
        return "data:image/png;base64," + base64.b64encode(self._export.ask(canonical(address))).decode()

    def cells(self, address: str, cid: int) -> Attributes:
        """What an element has that shows a concept's map on an image."""
        number, path = self._codes(address)
        return self._export.site_codes.cells(path, number, cid)

    def layout(self, address: str, label: str) -> Attributes:
        """What an element has that shows where a label is predicted in an image."""
        number, path = self._codes(address)
        return self._export.site_codes.layout(path, number, label)

    def mask(self, address: str, label: str) -> Attributes:
        """What an element has that shows a label's mask in an image."""
        found = MASKS.fullmatch(canonical(address))
        if found is None:
            raise AtlasError(f"{address} names no segments of an image")
        return self._export.site_codes.mask(int(found[1]), label)

    def _codes(self, address: str) -> tuple[int, str]:
        found = CODES.fullmatch(canonical(address))
        if found is None:
            raise AtlasError(f"{address} names no codes of an image")
        return int(found[1]), found[2]


def told(exported: Exported, out: Path) -> str:
    """What is said at the end."""
    return f"{exported.pages:,} pages, {exported.size / 1e6:.1f} MB in {out}: open {out / 'index.html'}"
