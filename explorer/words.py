"""How values are written on pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from markupsafe import Markup, escape

from explorer.addresses import label_url

NOTHING = Markup('<span class="none" title="none">–</span>')


def number(value: Any) -> Markup:
    """A value in short, with all its digits in ``<data value>`` and to a pointer that rests on it."""
    if value is None:
        return NOTHING
    # Of numbers and truths alone, which hold nothing to escape.
    if isinstance(value, bool):
        return Markup(f'<data value="{str(value).lower()}">{"yes" if value else "no"}</data>')
    if isinstance(value, int):
        return Markup(f'<data value="{value}">{value:,}</data>')
    if isinstance(value, float):
        return Markup(f'<data value="{value!r}" title="{value!r}">{short(value)}</data>')
    return escape(value)


def short(value: float) -> str:
    """Three significant digits."""
    return f"{value:.3g}"


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "label_url": label_url,
    "time": lambda t: f"{t:g}",
    "words": lambda name: str(name).replace("_", " "),
}
