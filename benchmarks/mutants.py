"""Puts small faults into the arithmetic, one at a time, and asks whether the tests of the module notice.

    python -m benchmarks.mutants [--module concepts/evidence.py ...] [--workers 2]
    python -m benchmarks.mutants --sample 20 --seed 1     # a random share of each module
    python -m benchmarks.mutants --list                   # the mutants, none of them run

Which modules, the tests that have to kill their mutants, and why the mutants that survive must: ``mutants.toml`` beside
this file. A module's tests have to kill at least 90 % of its mutants, and each survivor has to be explained there: a
line is known by its function, its text and the change, so that it may move. A mutant that hangs, or takes the memory,
is killed. Hypothesis tries few examples, the same in every run.

Prints killed and survived a module, and each survivor. Exits with 1 where too many survive, a survivor is not
explained, or an explanation fits no survivor, and with 2 where the tests fail without a mutant.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutant_changes import Mutant, mutants_of
from benchmarks.mutant_trials import CPU_SECONDS, EXAMPLES, BaselineError, Subject, killed, prepare

ROOT = Path(__file__).resolve().parent.parent
LISTING = Path(__file__).with_suffix(".toml")
LEAST = 0.9  # share of a module's mutants that has to be killed
Key = tuple[str, str, str]  # function, text of the line, change


@dataclass(frozen=True)
class Listing:
    """The modules, each with its tests, and for each the survivors that are explained."""

    modules: dict[str, list[str]]
    explained: dict[str, dict[Key, str]]

    @classmethod
    def read(cls, path: Path) -> Listing:
        """Read a file such as ``mutants.toml``."""
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        explained: dict[str, dict[Key, str]] = {}
        for module, lines in found.get("explained", {}).items():
            explained[module] = {(function, line, change): why for function, line, change, why in lines}
        return cls(found["modules"], explained)


@dataclass(frozen=True)
class Verdict:
    """What came of a module: how many mutants were tried, those that survived, the explanations that fit none."""

    module: str
    tried: int
    survived: list[Mutant]
    unexplained: list[Mutant]
    stale: list[tuple[Key, str]]

    @property
    def share(self) -> float:
        """The part of the mutants that was killed, in [0, 1]."""
        return 1.0 - len(self.survived) / self.tried if self.tried else 1.0

    @property
    def good(self) -> bool:
        """Whether enough were killed, and every explanation fits a survivor and every survivor has one."""
        return self.share >= LEAST and not self.unexplained and not self.stale


def judged(
    module: str, every: Sequence[Mutant], outcomes: Sequence[tuple[Mutant, bool]], explained: dict[Key, str]
) -> Verdict:
    """Hold the outcomes (mutant, whether killed) against the explanations; ``every`` is all mutants of the module."""
    survived = sorted((mutant for mutant, dead in outcomes if not dead), key=lambda mutant: mutant.number)
    dead_keys, known = {mutant.key for mutant, dead in outcomes if dead}, {mutant.key for mutant in every}
    stale = [(key, "no such mutant") for key in explained if key not in known]
    stale += [(key, "it is killed") for key in explained if key in dead_keys]
    unexplained = [mutant for mutant in survived if mutant.key not in explained]
    return Verdict(module, len(outcomes), survived, unexplained, stale)


def tried(
    subject: Subject, explained: dict[Key, str], workers: int, sample: int | None = None, seed: int = 0
) -> Verdict:
    """Run a module's tests against its mutants, or against ``sample`` of them. Raises ``BaselineError``."""
    tree = ast.parse(subject.source)
    every = mutants_of(subject.source, tree)
    chosen = every if sample is None else random.Random(seed).sample(every, min(sample, len(every)))
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        prepare(subject, Path(folder))
        applies = [mutant.apply for mutant in chosen]
        outcomes = [(chosen[at], dead) for at, dead in killed(subject, tree, applies, workers, Path(folder))]
    return judged(subject.path, every, outcomes, explained)


def report(verdict: Verdict, explained: dict[Key, str]) -> str:
    """The verdict in words; what is not explained yet as the line that ``mutants.toml`` lacks."""
    survived = len(verdict.survived)
    killed_too = f"{verdict.tried - survived} killed ({100 * verdict.share:.1f} %), {survived} survived"
    lines = [f"{verdict.module}: {verdict.tried} mutants, {killed_too}, {len(verdict.unexplained)} of them unexplained"]
    for mutant in verdict.survived:
        lines.append(f"  line {mutant.number}, {mutant.function}: {mutant.change}")
        why = explained.get(mutant.key)
        lines.append(f"    {mutant.line}\n    {why}" if why else f"    [{entry(mutant)}, ''],")
    lines += [f"  an explanation fits no survivor ({why}): {' | '.join(key)}" for key, why in verdict.stale]
    return "\n".join(lines)


def entry(mutant: Mutant) -> str:
    """The mutant's key as TOML, whose basic strings are those of JSON."""
    return ", ".join(f"'{part}'" if "'" not in part else json.dumps(part, ensure_ascii=False) for part in mutant.key)


def main(argv: list[str] | None = None) -> int:
    """Command line of the script; 1 if a module is not good enough, 2 if its tests fail without a mutant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--module", nargs="*", metavar="PATH", help="only these of the modules")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="mutants at a time")
    parser.add_argument("--sample", type=int, metavar="N", help="so many mutants of each module, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--examples", type=int, default=EXAMPLES, metavar="N", help="of a hypothesis test at most")
    parser.add_argument("--patience", type=float, default=CPU_SECONDS, metavar="SECONDS", help="before a mutant hangs")
    parser.add_argument("--list", action="store_true", help="run nothing")
    parser.add_argument("--listing", type=Path, default=LISTING, help="another file than mutants.toml")
    parser.add_argument("--root", type=Path, default=ROOT, help="what its paths are relative to")
    options = parser.parse_args(argv)
    listing = Listing.read(options.listing)
    for module in {*listing.explained, *(options.module or [])} - set(listing.modules):
        parser.error(f"{options.listing} has no module {module}")
    subjects = [
        Subject(options.root.resolve(), module, tests, options.examples, options.patience)
        for module, tests in listing.modules.items()
        if not options.module or module in options.module
    ]
    return listed(subjects) if options.list else tried_all(subjects, listing, options)


def listed(subjects: Sequence[Subject]) -> int:
    """Print every mutant, and return the exit code."""
    for subject in subjects:
        for mutant in mutants_of(subject.source, ast.parse(subject.source)):
            print(f"{subject.path}:{mutant.number}: {mutant.function}: {mutant.change}: {mutant.line}")
    return 0


def tried_all(subjects: Sequence[Subject], listing: Listing, options: argparse.Namespace) -> int:
    """Try module after module, say what came of each, and return the exit code."""
    verdicts = []
    for subject in subjects:
        explained, began = listing.explained.get(subject.path, {}), time.monotonic()
        try:
            verdict = tried(subject, explained, options.workers, options.sample, options.seed)
        except BaselineError as error:
            print(error)
            return 2
        print(report(verdict, explained), f"  {time.monotonic() - began:.0f} s", sep="\n", flush=True)
        verdicts.append(verdict)
    bad = [verdict.module for verdict in verdicts if not verdict.good]
    total, survived = sum(v.tried for v in verdicts), sum(len(v.survived) for v in verdicts)
    print(f"{total} mutants of {len(verdicts)} modules, {total - survived} killed", end="")
    print(f"; not good enough: {', '.join(bad)}" if bad else "")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
