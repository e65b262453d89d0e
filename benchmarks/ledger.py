"""The ledger of docs/ledger.md: each number and claim of the paper beside what a study's tables say of it.

    python -m benchmarks.ledger runs/mini            # renews the page
    python -m benchmarks.ledger runs/mini --check    # writes nothing, and exits with 1 if the page differs
    python -m benchmarks.ledger runs/mini --print    # on the terminal, for a study of your own

Rows are declared in ``benchmarks/ledger_claims.py`` and ``benchmarks/ledger_edits.py``; the verdict's arithmetic is in
``benchmarks/ledger_rules.py``.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import ledger_claims, ledger_edits
from benchmarks.ledger_rules import UNTESTED, VERDICTS, Claim, Finding, Measured, decide, found_in
from benchmarks.page import put
from storage.query import query
from storage.study import read_study

REPO = Path(__file__).resolve().parent.parent
PAGE = REPO / "docs" / "ledger.md"
MARK = "ledger: python -m benchmarks.ledger runs/mini"
PLACE = re.compile(rf"(?<=<!-- {re.escape(MARK)} -->\n).*?(?=<!-- end -->)", re.S)
HEAD = ("claim", "paper", "miniature, 95 % interval", "control", "difference", "verdict", "SD v1.4 needs")


class Row(NamedTuple):
    """A claim, what the study says of it, and the verdict."""

    claim: Claim
    finding: Finding | None
    verdict: str

    def cells(self) -> list[str]:
        """As they are shown. An untested row says why."""
        claim, finding = self.claim, self.finding
        ours, control, apart = (finding.ours, finding.control, finding.difference) if finding else (None, None, None)
        beside = f"{claim.against}: {shown(control, claim.digits)}" if control else ""
        said = f"{self.verdict}: {why(claim, finding)}" if self.verdict == UNTESTED else f"**{self.verdict}**"
        figures = shown(ours, claim.digits), beside, shown(apart, claim.digits, "+")
        return [claim.text, claim.paper, *figures, said, claim.needs]


def all_claims() -> tuple[Claim, ...]:
    """Every row of the ledger, in the order of the page."""
    return (*ledger_claims.claims(), *ledger_edits.claims())


def rows_of(root: str | Path, claims: Sequence[Claim]) -> list[Row]:
    """The claims with what the study says of each. Raises ``StorageError`` for a query that cannot be answered."""
    config = read_study(root)["config"]
    return [_row(root, config, claim) for claim in claims]


def _row(root: str | Path, config: Mapping[str, Any], claim: Claim) -> Row:
    finding = found_in(query(root, claim.query).to_pylist(), claim) if claim.query else None
    if finding is None or claim.rule is None or not _is_set(config, claim):
        return Row(claim, finding, UNTESTED)
    return Row(claim, finding, decide(claim.rule, finding))


def _is_set(config: Mapping[str, Any], claim: Claim) -> bool:
    if claim.setting is None:
        return True
    name, wanted = claim.setting
    value: Any = config
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return bool(value == wanted)


def why(claim: Claim, finding: Finding | None) -> str:
    """Why a claim is untested: what it says itself, or that an interval is missing."""
    if claim.because:
        return claim.because
    return "the study's tables have no such rows" if finding is None else "all agree, so there is no interval"


def shown(measured: Measured | None, digits: int, sign: str = "") -> str:
    """A mean with its interval, or nothing."""
    if measured is None:
        return ""
    mean = f"{measured.mean:{sign}.{digits}f}"
    if measured.interval is None:
        return mean
    low, high = measured.interval
    return f"{mean} ({low:.{digits}f} to {high:.{digits}f})"


def ledger(rows: Sequence[Row]) -> str:
    """Markdown: how many rows came to which verdict, a table a section, and what is needed."""
    numbers = [row for row in rows if row.claim.rule and row.claim.rule.name == "number"]
    others = [row for row in rows if row not in numbers]
    parts = [f"{counted('claims', others)}\n{counted('numbers', numbers)}"]
    for section, of_section in groupby(rows, lambda row: row.claim.section):
        lines = [f"## {section}", "", f"| {' | '.join(HEAD)} |", f"|{' --- |' * len(HEAD)}"]
        parts.append("\n".join([*lines, *(f"| {' | '.join(row.cells())} |" for row in of_section)]))
    needs = [f"| {letter} | {what} |" for letter, what in ledger_claims.NEEDS.items()]
    parts.append("\n".join(["## What SD v1.4 needs", "", "| row says | what it takes |", "| --- | --- |", *needs]))
    return "\n\n".join(parts) + "\n"


def counted(what: str, rows: Sequence[Row]) -> str:
    """How many of the rows came to which verdict, in a sentence."""
    counts = Counter(row.verdict for row in rows)
    return f"Of {len(rows)} {what}: {', '.join(f'{counts[verdict]} {verdict}' for verdict in VERDICTS)}."


def main(argv: list[str] | None = None) -> int:
    """Command line of the script; 1 if the page does not say what the study does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="the study's folder")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--print", action="store_true", help="write nothing, and print the tables")
    options = parser.parse_args(argv)
    made = ledger(rows_of(options.root, all_claims()))
    if options.print:
        print(made)
        return 0
    after = PLACE.sub(lambda _: f"\n{made}\n", PAGE.read_text(encoding="utf-8"))
    return put(PAGE, after, options.check, "figures")


if __name__ == "__main__":
    sys.exit(main())
