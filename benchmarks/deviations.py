"""The table of docs/paper.md: the paper's settings beside those of configs/mini.yaml and configs/sd14.yaml.

    python -m benchmarks.deviations            # renews the values of both configurations on the page
    python -m benchmarks.deviations --check    # writes nothing, and exits with 1 if one differs

A row whose first cell is a setting in code type has its values renewed; the paper's value and the reason are written by
hand. A row that no setting decides is left as it is.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.page import put
from study.config import PATH_FIELDS, load_config

REPO = Path(__file__).resolve().parent.parent
PAGE = REPO / "docs" / "paper.md"
CONFIGS = {name: REPO / "configs" / f"{name}.yaml" for name in ("mini", "sd14")}
SETTING = re.compile(r"^`([a-z_]+(?:\.[a-z_0-9]+)+)`$")


def cells(line: str) -> list[str]:
    """Of a row of a Markdown table; none for any other line."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("| ") else []


def setting_of(row: list[str]) -> str | None:
    """The dotted setting that a row is about, if it is about one."""
    found = SETTING.match(row[0]) if len(row) == 5 else None
    return found[1] if found else None


def values_of(config: str) -> dict[str, Any]:
    """Dotted setting -> value, groups and their entries among them; paths as the file's name alone."""
    whole = load_config(CONFIGS[config]).model_dump(mode="json")
    found = dict(_flat(whole))
    return found | {path: Path(found[path]).name for path in PATH_FIELDS if isinstance(found.get(path), str)}


def _flat(node: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        yield f"{above}{name}", value
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")


def written(value: Any) -> str:
    """A value as the page has it."""
    if value is None:
        return "none"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def renewed(page: str) -> str:
    """The page with the values that the two configurations have now. Raises ``KeyError`` for a setting that is not."""
    known = {config: values_of(config) for config in CONFIGS}
    lines = []
    for line in page.splitlines():
        row = cells(line)
        if (setting := setting_of(row)) is not None:
            row[2:4] = [written(known[config][setting]) for config in CONFIGS]
            line = f"| {' | '.join(row)} |"
        lines.append(line)
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Command line of the script; 1 if the page does not have the configurations' values."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(argv)
    return put(PAGE, renewed(PAGE.read_text(encoding="utf-8")), options.check, "values")


if __name__ == "__main__":
    sys.exit(main())
