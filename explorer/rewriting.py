"""A page of the server made into one of a folder: its addresses lead to files, or, where there is none, nowhere."""

from __future__ import annotations

import html
import re
from typing import Protocol

Attributes = dict[str, str | None]
LINKS = ("href", "src", "action", "data-codes", "data-masks")
WAYS = ("prev", "next")
ATTRIBUTE = re.compile(r'\s([\w-]+)(?:(=)"([^"]*)")?')
# A link up to its end, or any other tag with an address.
LED = re.compile(
    r"<(?P<name>a)\b(?P<given>[^<>]*)>(?P<words>.*?)</a>"
    rf"|<(?P<other>[a-z]+)\b(?P<others>[^<>]*\s(?:{'|'.join(LINKS)})=[^<>]*)>",
    re.DOTALL,
)


class Place(Protocol):
    """Where a folder has what an address names."""

    def link(self, address: str) -> str | None:
        """The file, relative to the page; None where the site has none."""

    def inline(self, address: str) -> str:
        """A picture as a data: address, for scripts that read its pixels: of a file they may not."""

    def cells(self, address: str, cid: int) -> Attributes:
        """What an element has that shows a concept's map: its cells, or why there are none."""

    def layout(self, address: str, label: str) -> Attributes:
        """What one has that shows where a label is predicted: grid and cells, or why there are none."""

    def mask(self, address: str, label: str) -> Attributes:
        """What one has that shows a label's mask in an image: its size and run lengths."""


def rewritten(text: str, place: Place) -> str:
    """The page; a link without a file stands as its words, and one to the page before or after goes.

    ``text`` is what our templates write: they escape ``<``, ``>`` and quotes wherever these are no markup, so that
    every tag is found by its brackets, and links stand in no other links.
    """
    return LED.sub(lambda found: _led(found, place), text)


def _led(found: re.Match[str], place: Place) -> str:
    name, words = found["name"] or found["other"], found["words"]
    given = _attributes(found["given"] or found["others"])
    if words is None:
        return _tag(name, _filed(given, place))
    target = place.link(given["href"] or "")
    words = rewritten(words, place)
    if target is not None:
        return f"{_tag('a', {**given, 'href': target})}{words}</a>"
    if given.get("rel") in WAYS:
        return ""
    return f"{_tag('span', {name: given[name] for name in given if name in ('title', 'class')})}{words}</span>"


def _filed(given: Attributes, place: Place) -> Attributes:
    """The attributes of anything but a link, with files where addresses were."""
    if "data-cid" in given:
        return _shown(given, place.cells(given["data-codes"] or "", int(given["data-cid"] or "")))
    if "data-label" in given:
        label, codes = given["data-label"] or "", given.get("data-codes")
        return _shown(given, place.layout(codes, label) if codes else place.mask(given["data-masks"] or "", label))
    if "data-picture" in given:
        return {**given, "src": place.inline(given["src"] or "")}
    filed = {name: place.link(value or "") if name in LINKS else value for name, value in given.items()}
    return {name: value for name, value in filed.items() if name not in LINKS or value is not None}


def _shown(given: Attributes, shown: Attributes) -> Attributes:
    """An element with what it shows in itself, where it named what to ask for."""
    left = {name: value for name, value in given.items() if name not in (*LINKS, "data-cid")}
    return {**left, **shown, "class": " ".join(filter(None, (left.get("class"), shown.get("class"))))}


def _attributes(text: str) -> Attributes:
    return {name: html.unescape(value) if said else None for name, said, value in ATTRIBUTE.findall(text)}


def _tag(name: str, attributes: Attributes) -> str:
    parts = [key if value is None else f'{key}="{html.escape(value)}"' for key, value in attributes.items()]
    return f"<{' '.join([name, *parts])}>"
