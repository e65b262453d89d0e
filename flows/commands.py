"""The commands of ``concepts`` and their arguments."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from explorer.bounds import CONCEPTS, IMAGES, LABELS, MEGABYTES
from flows.arguments import Parser
from study.stages import BENCH, COMMANDS, OPTIONAL

# Commands that run stages of a study, by name, with their lines of help; the bench has arguments of its own.
STAGES = {name: command.help for name, command in (COMMANDS | OPTIONAL).items() if command.typed}


def parser() -> argparse.ArgumentParser:
    """The arguments of every command."""
    top = Parser(prog="concepts", description="An atlas of what a diffusion model represents, and when.")
    top.add_argument("--version", action="version", version=f"concept-atlas {_version()}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="what a study would do and take, and whether all that it names is there")
    _add_settings(check)
    check.add_argument("--root", type=_root, help="the folder that it is to fill: is there room on its disk?")
    check.add_argument("--no-timing", action="store_true", help="load no model and say nothing about time")
    for name, told in {"run": "the whole study; resumes what is there", **STAGES}.items():
        command = commands.add_parser(name, help=told)
        _add_study(command)
        _add_wait(command)
        _add_share(command)
        command.add_argument("--verbose", action="store_true", help="show Prefect's own log")
    bench = commands.add_parser("bench", help=BENCH.help)
    _add_study(bench)
    bench.add_argument("--truth", type=Path, default=Path("runs/truth.parquet"), help="written by miniature.truth")
    bench.add_argument(
        "--dictionary",
        action="append",
        default=[],
        metavar="NAME=BLOCK/T/COND=FOLDER",
        help="also score an SAE in SAELens' folder format, at the site it was trained for",
    )
    _add_wait(bench)
    bench.add_argument("--verbose", action="store_true", help="show Prefect's own log")
    revise = commands.add_parser("revise", help="give a study other settings; redo only what follows from them")
    _add_study(revise)
    revise.add_argument("--dry-run", action="store_true", help="only say what would be redone")
    _add_wait(revise)
    thresholds = commands.add_parser("thresholds", help="calibrate the zero-shot tagger on a study's captions")
    _add_study(thresholds)
    thresholds.add_argument("--out", type=Path, required=True, help="the vocabulary file to write")
    thresholds.add_argument(
        "--min-positives", type=int, default=20, help="labels in fewer captions keep the global threshold"
    )
    card = commands.add_parser("card", help="draw a concept's card, or ten worth a look, into figures/cards/")
    _add_folder(card)
    card.add_argument("site", nargs="?", metavar="BLOCK/T/COND", help="as in mid/0.00/cond; none: ten cards")
    card.add_argument("cid", nargs="?", type=int, help="the concept's number")
    card.add_argument("--k", type=int, help="needed where a site has SAEs of several k")
    _add_wait(card)
    _add_edit(commands.add_parser("edit", help="edit one image by concepts: before, after, a control, and a row"))
    status = commands.add_parser("status", help="what is done and missing, counts, sizes")
    _add_folder(status)
    verify = commands.add_parser("verify", help="check every shard, weight file and table")
    _add_folder(verify)
    verify.add_argument("--hashes", action="store_true", help="also print each table's content hash")
    repair = commands.add_parser("repair", help="forget damaged units and what followed, for `concepts run` to redo")
    _add_folder(repair)
    repair.add_argument("--dry-run", action="store_true", help="only say what would be forgotten")
    repair.add_argument("--unit", action="append", default=[], metavar="STAGE/UNIT", help="forget this one, too")
    _add_wait(repair)
    query = commands.add_parser(
        "query",
        help="SQL over the tables (DuckDB)",
        description="Each table of the study is a view of its own name. A query is one statement that reads: SELECT, "
        "FROM, WITH, VALUES, PIVOT, DESCRIBE, SHOW, SUMMARIZE, or EXPLAIN and one of them; no other file is read and "
        "none is written. docs/queries.md tells what each type becomes in each format.",
    )
    _add_folder(query)
    query.add_argument("sql", help='as in "select label, count(*) n from segments group by label"')
    query.add_argument(
        "--format",
        choices=("table", "csv", "json", "parquet"),
        default="table",
        help="table is for reading and cuts long text; the others hold values whole (parquet: into a file or a pipe)",
    )
    explore = commands.add_parser("explore", help="look at a study in a browser: labels, concepts, images, edits")
    _add_folder(explore)
    explore.add_argument("--port", type=_port, default=8600, help="of this machine; 0 takes any that is free")
    explore.add_argument("--open", action="store_true", help="open the first page in a browser")
    explore.add_argument("--compare", type=Path, metavar="DIR", help="another study, to compare this one with")
    _add_models(explore)
    _add_export_site(
        commands.add_parser("export-site", help="the pages of `explore` as a folder, for any browser or web host")
    )
    serve = commands.add_parser("serve", help="serve scheduled deployments against a Prefect server")
    serve.add_argument("config", type=Path, help="the study's YAML file")
    serve.add_argument("--root", type=_root, required=True, help="the study folder")
    serve.add_argument("--cron", default="0 3 * * *", help="schedule of the whole study")
    serve.add_argument("--timezone", default="UTC", help="of the schedule, as in Europe/Berlin")
    server = commands.add_parser(
        "server", help="a Prefect server with its UI, for all commands; nothing leaves the machine"
    )
    setup = commands.add_parser(
        "setup", help="make what the server of PREFECT_API_URL needs: work pool, automations, notification; repeatable"
    )
    setup.add_argument("--gpu", action="store_true", help="also make the work pool for GPUs (prefect-gpu.yaml)")
    setup.add_argument("--chain", action="store_true", help="have a finished stage start the next: needs deployments")
    for command in (serve, server):
        command.add_argument(
            "--port", type=_port, default=4200, help="of a server of this command's own; 0 takes any that is free"
        )
    return top


def _add_export_site(export: argparse.ArgumentParser) -> None:
    _add_folder(export)
    export.add_argument("out", type=Path, help="a folder that is empty or does not exist yet")
    export.add_argument(
        "--concepts", type=_count, default=CONCEPTS, help="of each dictionary at most, best labelled first"
    )
    export.add_argument(
        "--images", type=_count, default=IMAGES, help="at most, the strongest of most of these concepts"
    )
    export.add_argument("--labels", type=_count, default=LABELS, help="at most, those that most images show")
    export.add_argument(
        "--megabytes", type=_count, default=MEGABYTES, help="that the site may have; beyond them it is not made"
    )
    export.add_argument("--replace", action="store_true", help="put it in the place of a site that was exported there")


def _add_edit(edit: argparse.ArgumentParser) -> None:
    _add_folder(edit, _root)
    edit.add_argument("--prompt", help="caption of the image")
    edit.add_argument(
        "--concept",
        action="append",
        default=[],
        metavar="LABEL|CID",
        help="a label (boat), for the concepts that carry it, or their numbers (12,45 or cid:12); may be repeated",
    )
    edit.add_argument("--window", help="a window of the study (early), or times (0.2-0.6)")
    edit.add_argument(
        "--strength",
        type=float,
        help="of add and place: norm in units of the site's RMS residual-update norm; of others, how much (1: all)",
    )
    edit.add_argument(
        "--region",
        help="left, top_right, centre, ...; box:L,T,R,B; polygon:X,Y X,Y X,Y; cells:RxC:HEX; a PNG; none: everywhere",
    )
    edit.add_argument("--feather", type=float, help="softness of the region's edge in pixels")
    edit.add_argument("--block", action="append", default=[], help="as in mid; may be repeated")
    edit.add_argument(
        "--operation",
        choices=("place", "add", "ablate", "replace", "clamp"),
        help="place (add inside the region, take away outside) is what a region gets, add what none gets",
    )
    edit.add_argument(
        "--instead-of", action="append", default=[], metavar="LABEL|CID", help="what --operation replace takes away"
    )
    edit.add_argument("--half", choices=("cond", "both"), help="half of guidance that is edited; cond unless given")
    edit.add_argument(
        "--schedule", metavar="T:FACTOR,...", help="factors on the strength by time, as in 1:0,0.6:1,0.2:0.5"
    )
    edit.add_argument(
        "--quantile", type=float, help="of --operation clamp: of each concept's activations; the largest unless given"
    )
    edit.add_argument(
        "--plan", metavar="FILE.yaml", help="an edit of several parts, in place of the options from --concept to here"
    )
    edit.add_argument("--seed", type=int, help="of the initial noise; the study's unless given")
    edit.add_argument("--controls", type=int, help="random directions that the edit is held against; 1 unless given")
    edit.add_argument("--no-judge", action="store_true", help="load no judge and score nothing")
    edit.add_argument("--out", metavar="FOLDER", help="where the files go; DIR-edits unless given")
    _add_models(edit)


def _version() -> str:
    try:
        return metadata.version("concept-atlas")
    except metadata.PackageNotFoundError:
        return "(not installed as a package)"


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**6):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to 999,999")
    return int(text)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 0 to 65535")
    return int(text)


def _add_study(command: argparse.ArgumentParser) -> None:
    """What every command takes that reads a configuration."""
    _add_settings(command)
    command.add_argument("--root", type=_root, required=True, help="the study folder")


def _add_folder(command: argparse.ArgumentParser, kind: Callable[[str], Path] = Path) -> None:
    """What every command takes that needs the study's folder alone."""
    command.add_argument("dir", type=kind, help="the study folder; --root DIR says the same")


def _add_settings(command: argparse.ArgumentParser) -> None:
    command.add_argument("config", type=Path, help="the study's YAML file")
    command.add_argument("--set", action="append", default=[], metavar="a.b=value", help="override a setting")


def _add_models(command: argparse.ArgumentParser) -> None:
    """What a command takes that samples images for a study whose models may have moved."""
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="a.b=value",
        help="where the study's models lie: model.path=FOLDER",
    )


def _add_wait(command: argparse.ArgumentParser) -> None:
    """What every command takes that writes into a study folder: one does at a time."""
    command.add_argument(
        "--wait",
        type=_seconds,
        nargs="?",
        const=float("inf"),
        default=0.0,
        metavar="SECONDS",
        help="while another command writes into the folder, wait for it (at most SECONDS) instead of ending",
    )


def _add_share(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--share",
        action="append_const",
        dest="set",
        const="run.share=true",
        help="work beside other commands that share the folder, here or on other machines: each takes what nobody has",
    )


def _root(text: str) -> Path:
    """A path would take nothing for the current folder, and the shell leaves a ~ after an equals sign as it is."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no folder's name: give the study's folder, as in runs/mini")
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path's own fails for a user that there is not


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds: give --wait last, or as in --wait=60")
    return seconds
