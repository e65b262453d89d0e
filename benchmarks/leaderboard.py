"""The leaderboard of docs/bench.md: which dictionary detects which kind of concept, from a study's tables.

    python -m benchmarks.leaderboard runs/mini            # renews the page
    python -m benchmarks.leaderboard runs/mini --check    # writes nothing, and exits with 1 if the page differs
    python -m benchmarks.leaderboard runs/mini --print    # on the terminal, for a study of your own

The study must have been benched (``concepts bench``). Of each method and kind the site is shown where its detectors did
best on the images that chose them; every figure is of the others. Seconds of training are the only figures that differ
from run to run; ``--check`` leaves them out.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.page import put
from storage.query import query
from storage.records import read_record
from storage.site import Site
from study.paths import unit_name
from study.saes import FROZEN, FROZEN_ENCODER, SOFT_FROZEN, TRAINED, UNTRAINED

REPO = Path(__file__).resolve().parent.parent
PAGE = REPO / "docs" / "bench.md"
MARK = "leaderboard: python -m benchmarks.leaderboard runs/mini"
PLACE = re.compile(rf"(?<=<!-- {re.escape(MARK)} -->\n).*?(?=<!-- end -->)", re.S)
KINDS = ("object", "ground", "look", "colour", "parent")
CONTROLS = (SOFT_FROZEN, FROZEN, FROZEN_ENCODER, UNTRAINED, "shuffled_decoder", "neurons", "pca")
HEAD = ("method", "site", "precision", "recall", "F1, 95 % interval", "stability", "cosine to its start", "seconds")
BEST = """
select * from bench where scope = 'image' and label = '*' and kind != '*'
qualify row_number() over (partition by kind, method order by f1_chosen desc, block, t) = 1
order by kind, f1 desc, method
"""
LEARNT = """
select block, t, conditioning, k, kind, avg(stability) as stability,
  max(init_cosine) filter (stability is null) as moved
from sae_metrics group by all
"""


@dataclass(frozen=True)
class Row:
    """One method at its best site for a kind of label. ``moved`` is the mean cosine of its rows to their start."""

    method: str
    kind: str
    site: Site
    precision: float
    recall: float
    f1: float
    low: float
    high: float
    stability: float | None
    moved: float | None
    seconds: float | None

    def cells(self) -> list[str]:
        """As they are shown."""
        return [
            *(f"`{self.method}`", f"{self.site.block} {self.site.t:g}", f"{self.precision:.2f}", f"{self.recall:.2f}"),
            f"{self.f1:.3f} ({self.low:.3f} to {self.high:.3f})",
            *(shown(self.stability, ".2f"), shown(self.moved, ".2f"), shown(self.seconds, ".1f")),
        ]


def shown(value: float | None, form: str) -> str:
    """A figure, or nothing where there is none."""
    return "" if value is None else f"{value:{form}}"


def rows_of(root: str | Path) -> list[Row]:
    """Every method at its best site, by kind, best first."""
    learnt = {
        (*(row[name] for name in ("block", "t", "conditioning", "k", "kind")),): row
        for row in query(root, LEARNT).to_pylist()
    }
    rows = []
    for best in query(root, BEST).to_pylist():
        site = Site(best["block"], best["t"], best["conditioning"])
        facts: dict[str, Any] = learnt.get((*site, best["k"], best["method"]), {})
        record = read_record(root, "train", unit_name(site, best["k"])) or {}
        trained = best["method"] in (TRAINED, FROZEN, SOFT_FROZEN, FROZEN_ENCODER)
        rows.append(
            Row(
                *(best["method"], best["kind"], site, best["precision"], best["recall"]),
                *(best["f1"], best["f1_ci_low"], best["f1_ci_high"], facts.get("stability"), facts.get("moved")),
                record.get("seconds_each") if trained else None,
            )
        )
    return rows


def verdict(rows: list[Row]) -> str:
    """Which controls the trained dictionary is above, intervals apart, and which it is not; of the rows of one kind."""
    by_method = {row.method: row for row in rows}
    trained = by_method[TRAINED]
    controls = [by_method[name] for name in CONTROLS if name in by_method]
    above = [f"`{row.method}`" for row in controls if row.high < trained.low]
    below = [f"`{row.method}`" for row in controls if row.low > trained.high]
    level = [f"`{row.method}`" for row in controls if row.high >= trained.low and row.low <= trained.high]
    parts = [
        *([f"above {listed(above)}, intervals apart"] if above else []),
        *([f"not apart from {listed(level)}"] if level else []),
        *([f"**below** {listed(below)}"] if below else []),
    ]
    return f"`trained` is {'; '.join(parts)}."


def listed(names: list[str]) -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def leaderboard(rows: list[Row]) -> str:
    """Markdown: a table a kind, and below it what the trained dictionary is above."""
    parts = []
    for kind in KINDS:
        of_kind = [row for row in rows if row.kind == kind]
        lines = [f"**{kind}s**", "", f"| {' | '.join(HEAD)} |", f"|{' --- |' * len(HEAD)}"]
        lines += [f"| {' | '.join(row.cells())} |" for row in of_kind]
        parts.append("\n".join([*lines, "", verdict(of_kind)]))
    return "\n\n".join(parts) + "\n"


def without_seconds(text: str) -> str:
    """The tables without their last column."""
    return re.sub(r"[^|\n]*\|$", "", text, flags=re.M)


def main(argv: list[str] | None = None) -> int:
    """Command line of the script; 1 if the page does not have the study's figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="the study's folder")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--print", action="store_true", help="write nothing, and print the tables")
    options = parser.parse_args(argv)
    made = leaderboard(rows_of(options.root))
    if options.print:
        print(made)
        return 0
    after = PLACE.sub(lambda _: f"\n{made}\n", PAGE.read_text(encoding="utf-8"))
    return put(PAGE, after, options.check, "figures", lambda a, b: without_seconds(a) == without_seconds(b))


if __name__ == "__main__":
    sys.exit(main())
