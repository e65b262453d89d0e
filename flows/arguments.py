"""The parser of the command line: a mistake is one sentence on stderr and exit code 2, with what was probably meant."""

from __future__ import annotations

import argparse
import difflib
import sys
from typing import Any, NoReturn

from storage.text import printable

USER_ERROR = 2


class _Help(argparse.HelpFormatter):
    """argparse's help, which also tells what an option is when it is not given, if it is something then."""

    def _get_help_string(self, action: argparse.Action) -> str:
        told, otherwise = action.help or "", action.default
        switched = isinstance(otherwise, bool) or otherwise in (None, [], 0, argparse.SUPPRESS)
        return told if switched or not action.option_strings else f"{told} (default: %(default)s)"


class Parser(argparse.ArgumentParser):
    """argparse without its page of usage before every error; ``--help`` has it."""

    def __init__(self, **given: Any) -> None:
        # An option is written out: of two spellings that a shorter one could mean, none is guessed.
        super().__init__(**{"allow_abbrev": False, "formatter_class": _Help, **given})
        self._given: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """argparse's own; what was given is remembered for the error."""
        self._given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and end with exit code 2. A misspelt option explains the missing one of the right name."""
        if message.startswith(("unrecognized arguments: ", "the following arguments are required: ")):
            known = self._options()
            options = [part.partition("=")[0] for part in self._given if part.startswith("--")]
            unknown = [option for option in options if option not in known]
            unknown += message.partition("unrecognized arguments: ")[2].split()
            if unknown:
                message = f"unknown argument {unknown[0]!r}{self._nearest(unknown[0], known)}"
        said = " ".join(message.split()).replace("the following arguments are required:", "missing:")
        print(f"concepts: {printable(said)}; see `{self.prog} --help`", file=sys.stderr)
        sys.exit(USER_ERROR)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        name = "command" if action.dest == "command" else "/".join(action.option_strings) or action.dest
        near = self._nearest(str(value), known) or f": choose from {', '.join(known)}"
        self.error(f"no {name} {value!r}{near}")

    @staticmethod
    def _nearest(word: str, known: list[str]) -> str:
        near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
        return f"; did you mean {near[0]!r}?" if near else ""

    def _options(self) -> list[str]:
        """Every option of this parser and of its commands."""
        options = {option for action in self._actions for option in action.option_strings}
        for action in self._actions:
            for below in action.choices.values() if isinstance(action, argparse._SubParsersAction) else ():
                options.update(below._options())
        return sorted(options)
