"""Renews the answers that stand below the SQL of the pages, from a study: no number there is typed by hand.

    python -m benchmarks.answers runs/mini            # rewrites README.md and pages of docs/ (PAGES)
    python -m benchmarks.answers runs/mini --check    # says which answers differ, and exits with 1 if one does

The study is the demo's (``make demo``), with the bench on it (docs/bench.md) for the questions that ask it. A question
that begins ``-- of NAME`` is asked of the study of that name beside it; if there is none it is left as it is, and told.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from storage.query import query
from storage.render import render
from storage.study import has_study

REPO = Path(__file__).resolve().parent.parent
PAGES = tuple(
    REPO / name
    for name in (
        *("README.md", "docs/bench.md", "docs/labelling.md", "docs/results.md"),
        *("docs/temporal.md", "docs/layouts.md"),
    )
)
OF = re.compile(r"-- of (\S+)\n")
ANSWERED = re.compile(r"^```sql\n(?P<sql>[^`]+)^```\n\n```text\n(?P<answer>[^`]*)^```$", re.M)


def renewed(page: str, root: str | Path) -> tuple[str, list[str]]:
    """The page with each answer as the study gives it now, and the questions whose answers have changed."""
    changed: list[str] = []

    def renew(found: re.Match[str]) -> str:
        asked = study_asked(found["sql"], Path(root))
        if not has_study(asked):
            print(f"{asked} is not there, so this is left: {' '.join(found['sql'].split())[:80]}...")
            return found[0]
        answer = render(query(asked, found["sql"], "table"), "table").decode()
        answer = "\n".join(line.rstrip() for line in answer.splitlines()) + "\n"
        if answer == found["answer"]:
            return found[0]
        changed.append(found["sql"])
        return found[0].replace(f"```text\n{found['answer']}", f"```text\n{answer}")

    return ANSWERED.sub(renew, page), changed


def study_asked(sql: str, root: Path) -> Path:
    """The study of a question: the one given, or the one beside it that the question names."""
    named = OF.match(sql)
    return root.parent / named[1] if named else root


def main(argv: list[str] | None = None) -> int:
    """Command line of the script; 1 if an answer of the pages is not the study's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="the study's folder")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(argv)
    different = 0
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after, changed = renewed(before, options.root)
        different += len(changed)
        for sql in changed:
            print(f"{page.relative_to(REPO)}: another answer to: {' '.join(sql.split())[:80]}...")
        if not options.check:
            page.write_text(after, encoding="utf-8")
    print(f"{different} answers differ")
    return 1 if options.check and different else 0


if __name__ == "__main__":
    sys.exit(main())
