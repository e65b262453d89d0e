"""How a study is named on the command line, and spellings of before, which this release still takes.

A command that reads a configuration takes it bare and the study's folder as ``--root``; one that needs the folder alone
takes that bare, or as ``--root`` as well. So ``--root`` is the folder wherever it stands, and what is bare comes first.
"""

from __future__ import annotations

from collections.abc import Iterable

CONFIGURED = ("run", "check", "bench", "revise", "thresholds", "serve")  # and the stages
OF_A_FOLDER = ("status", "verify", "query", "repair", "card", "edit", "explore", "export-site")
SERVED = ("configs/mini.yaml", "runs/mini")  # what `serve` served when nothing was named


def present(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments as this release spells them, and a line for each former spelling among them."""
    command, rest = arguments[:1], arguments[1:]
    if command == ["serve"] and not {"-h", "--help"} & set(rest):
        rest, notices = _of_serve(rest)
        return [*command, *rest], notices
    if command and command[0] in OF_A_FOLDER:
        root, others = _taken(rest, "--root")
        return [*command, *root[-1:], *others], []
    return arguments, []


def _of_serve(rest: list[str]) -> tuple[list[str], list[str]]:
    """``--config FILE`` was what is bare now, and it and ``--root`` could be left out."""
    configs, others = _taken(rest, "--config")
    roots, others = _taken(others, "--root")
    if not configs and _bare(others):
        return rest, []
    config, root = ([default, *given][-1] for default, given in zip(SERVED, (configs, roots), strict=True))
    notice = (
        "`concepts serve CONFIG --root DIR` is how it is spelled: --config, and leaving one of them out, end with the "
        f"next release; {config} is served into {root}"
    )
    return [config, "--root", root, *others], [notice]


def _taken(words: list[str], option: str) -> tuple[list[str], list[str]]:
    """The values that an option is given, in order, and all other words. An option that ends the line stays."""
    values: list[str] = []
    others: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--":
            return values, [*others, word, *left]
        if word == option and (value := next(left, None)) is not None:
            values.append(value)
        elif word.startswith(f"{option}="):
            values.append(word.partition("=")[2])
        else:
            others.append(word)
    return values, others


def _bare(words: Iterable[str]) -> list[str]:
    """Words that are neither an option of ``serve`` nor its value."""
    bare, left = [], iter(words)
    for word in left:
        if word in ("--cron", "--timezone", "--port"):
            next(left, None)
        else:
            bare.append(word)
    return bare
