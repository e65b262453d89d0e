"""Commands that read a study and write nothing: what is done, whether it is whole, and SQL over its tables."""

from __future__ import annotations

import argparse
import sys
from typing import Any

DAMAGED = 1


def status(options: argparse.Namespace) -> int:
    """``concepts status``: what is done and missing, counts and sizes, cautions."""
    from rich.filesize import decimal

    from storage.text import printable
    from study.status import status as status_of

    overview = status_of(options.dir)
    print(printable(f"study {overview['name']} in {options.dir} (configuration {overview['config_hash']})"))
    for stage, done in overview["done"].items():
        total = overview["expected"][stage]
        state = "done" if done >= total else f"{total - done} missing"
        print(f"  {stage:<10} {done:>6} / {total:<6} {state}")
    store = overview["activations"]
    print(f"activations: {store['sites']} sites, {store['shards']} shards, {decimal(store['bytes'])}{_problem(store)}")
    print(f"SAEs: {overview['saes']}; figures: {len(overview['figures'])}")
    for table, facts in overview["tables"].items():
        size = f"{facts['rows']:>9} rows  {decimal(facts['bytes']):>10}  {facts['parts']} parts"
        print(f"  {table:<17} {size}{_problem(facts)}")
    for caution in overview["cautions"]:
        print(printable(f"caution: {caution}"))
    return 0


def _problem(facts: dict[str, Any]) -> str:
    from storage.text import printable

    return f"  {printable(facts['problem'])}" if "problem" in facts else ""


def verify(options: argparse.Namespace) -> int:
    """``concepts verify``: every damage, a line each. Returns 1 if there is any."""
    from study.verify import inspect_study

    report = inspect_study(options.dir)
    for damage in report.damage:
        print(damage)
    for name in report.foreign:
        print(f"{name} is foreign: no unit of this study writes it, and nothing reads it")
    if report.left_over:
        print(f"{len(report.left_over)} files that no record names (of unfinished units, or of an earlier version)")
    if options.hashes and not report.damage:
        from storage.inspect import table_hashes

        for table, digest in table_hashes(options.dir).items():
            print(f"{table:<17} {digest}")
    if report.damage:
        print(f"{len(report.damage)} problems: `concepts repair {options.dir}` forgets what has to be made again")
        return DAMAGED
    print("everything recorded is whole")
    return 0


def query(options: argparse.Namespace) -> int:
    """``concepts query``: the answer on stdout. Raises ``StorageError`` for a statement that does not read or fails."""
    from storage.errors import StorageError
    from storage.query import query as answer_to
    from storage.query import rendered

    terminal = sys.stdout.isatty()
    if options.format == "parquet" and terminal:
        raise StorageError("--format parquet writes bytes, not text: send them to a file, as in `... > answer.parquet`")
    answer = answer_to(options.dir, options.sql, options.format, _note)
    for piece in rendered(answer, options.format):
        sys.stdout.buffer.write(_for_terminal(piece) if terminal else piece)
    sys.stdout.buffer.flush()
    return 0


def _note(message: str) -> None:
    print(f"concepts: {message}", file=sys.stderr)


def _for_terminal(text: bytes) -> bytes:
    """Lines as they can be shown: a caption in a CSV may hold what a terminal obeys."""
    from storage.text import printable

    return "\n".join(map(printable, text.decode().split("\n"))).encode()
