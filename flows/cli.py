"""The ``concepts`` command line. Heavy imports wait until a command needs them: ``status`` answers at once."""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from flows.arguments import USER_ERROR
from flows.bars import progress_bars
from flows.commands import STAGES, parser
from flows.environment import variables_kept
from flows.locales import ensure_utf8, print_in_any_encoding, refuse_torn
from flows.sentences import sentence_of
from study.stages import stages_of

DAMAGED, INTERRUPTED = 1, 130
ELSEWHERE = {
    "edit": ("flows.editing", "edit"),
    "setup": ("flows.setting_up", "run"),
}  # commands of modules of their own
SERVE_GRACE = 4.0  # seconds in which an interrupted `serve` pauses its schedules
# Set before Prefect is imported: quiet by default, and nothing leaves the machine.
QUIET = {
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    # But for what a run logs, which its server is told: ``tasks.logs`` keeps that off stderr.
    "PREFECT_LOGGING_LOGGERS_PREFECT_FLOW_RUNS_LEVEL": "INFO",
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "INFO",
    "CONCEPTS_CONSOLE": "quiet",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",  # of a temporary server: what it could not write it tries again
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command. An error the user can put right is one sentence on stderr and exit code 2.

    Called with ``arguments``, in a process that goes on, it leaves the environment variables as they were.
    """
    if arguments is None:
        ensure_utf8()
        code = _main(sys.argv[1:])
        gc.freeze()  # Python would look for garbage once more at its end: two seconds among torch and Prefect
        return code
    with variables_kept():
        return _main(arguments)


def _main(arguments: list[str]) -> int:
    print_in_any_encoding()
    options = parser().parse_args(arguments)
    if not getattr(options, "verbose", False):
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
    from flows.interrupts import MESSAGE, ended_by_signals

    try:
        with ended_by_signals(SERVE_GRACE if options.command == "serve" else 0.0):
            refuse_torn(arguments)
            code = _dispatch(options)
            sys.stdout.flush()  # here, where a full disk behind it can be told in a sentence
            return code
    except KeyboardInterrupt:  # not in the main thread of a process, where signals are heard
        print(MESSAGE, file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return 0
    except Exception as error:
        said = sentence_of(error)
        if said is None:
            raise
        if isinstance(error, OSError) and error.filename is None:
            _drop_output()
        print(f"concepts: {said}", file=sys.stderr)
        return USER_ERROR


def _drop_output() -> None:
    """Nobody reads it: what is still buffered must not raise again when Python ends."""
    with suppress(OSError, ValueError):  # it may be closed, or no file at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(options: argparse.Namespace) -> int:
    if options.command in ("run", *STAGES):
        return _run(options)
    if options.command in ELSEWHERE:
        module, function = ELSEWHERE[options.command]
        return int(getattr(importlib.import_module(module), function)(options))
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "bench": _bench,
        "revise": _revise,
        "thresholds": _thresholds,
        "card": _card,
        "status": _status,
        "verify": _verify,
        "repair": _repair,
        "check": _check,
        "query": _query,
        "serve": _serve,
        "server": _server,
    }
    return commands[options.command](options)


def _check(options: argparse.Namespace) -> int:
    from flows.check import check

    check(options.config, options.set, options.root, not options.no_timing)
    return 0


def _run(options: argparse.Namespace) -> int:
    from flows.environment import prepare
    from storage.lock import writing
    from study.config import load_config

    config = load_config(options.config, options.set)  # a mistake is told before the heavy imports, in a moment
    from study.opening import may_write, open_or_create

    # Refuse a bad configuration before a folder is made, a server is started and a flow run exists.
    if may_write(options.root, config):
        if _said_that_all_is_done(options, config):
            return 0
    else:
        from study.preflight import refuse_unusable

        refuse_unusable(options.root, config, options.command)
        from flows.check import outlook_lines

        outlook_lines(config, options.root)
    prepare()
    from flows.metrics import refuse_taken_port
    from tasks.logs import asks_for_json

    refuse_taken_port(config.run.metrics_port)
    with writing(options.root, f"concepts {options.command}", options.wait):
        open_or_create(options.root, config)
        return _run_flow(options, bars=not asks_for_json(config))


def _said_that_all_is_done(options: argparse.Namespace, config: Any) -> bool:
    """Whether every unit of the command is done already: then that is said, without a server and a model."""
    from study.opening import open_existing
    from study.undone import done_units

    done = done_units(open_existing(options.root, config), options.command)
    for stage, units in (done or {}).items():
        print(f"{stage}: nothing to do, {units} {'unit is' if units == 1 else 'units are'} done")
    return done is not None


def _run_flow(options: argparse.Namespace, bars: bool) -> int:
    from flows.server import prefect_server, though_the_api_goes
    from flows.stages import FLOWS, OPTIONAL_FLOWS
    from flows.whole import study_flow
    from study.imports import import_work

    flow = study_flow if options.command == "run" else (FLOWS | OPTIONAL_FLOWS)[options.command]
    with prefect_server(meanwhile=lambda: import_work(stages_of(options.command))), progress_bars(bars):
        summary = though_the_api_goes(lambda: flow(str(options.config), str(options.root), options.set or None))
    for name, counts in summary.items():
        shown = ", ".join(f"{_words(k)} {v}" for k, v in counts.items()) if isinstance(counts, dict) else counts
        print(f"{_words(name)}: {shown}")
    return 0


def _words(name: str) -> str:
    return name.replace("_", " ")


def _bench(options: argparse.Namespace) -> int:
    from flows.environment import prepare
    from storage.lock import writing
    from study.config import load_config

    config = load_config(options.config, options.set)
    prepare()
    from study.imports import import_kept
    from study.opening import open_existing

    import_kept("tasks.bench", "tasks.given")
    from tasks.given import given_dictionaries
    from tasks.truth import read_truth

    study = open_existing(options.root, config)
    read_truth(options.truth)
    given = given_dictionaries(study, options.dictionary)
    from flows.bench import bench_flow
    from flows.server import prefect_server, though_the_api_goes
    from tasks.artifacts import bench_summary

    arguments = (str(options.config), str(options.root), options.set or None, str(options.truth), given)
    with writing(options.root, "concepts bench", options.wait), prefect_server(), progress_bars():
        though_the_api_goes(lambda: bench_flow(*arguments))
    import pyarrow as pa

    from storage.query import render

    sys.stdout.buffer.write(render(pa.Table.from_pylist(bench_summary(study)), "table"))
    sys.stdout.buffer.flush()
    return 0


def _revise(options: argparse.Namespace) -> int:
    from storage.lock import writing
    from study.config import load_config

    config = load_config(options.config, options.set)
    from study.revise import plan_revision

    plan_revision(options.root, config)  # what cannot be revised is told before a folder is locked
    if options.dry_run:
        return _revise_now(options, config)
    with writing(options.root, "concepts revise", options.wait):
        return _revise_now(options, config)


def _revise_now(options: argparse.Namespace, config: Any) -> int:
    from storage.study import shown
    from study.revise import plan_revision, revise

    revision = plan_revision(options.root, config)
    if not revision.needed:
        print(f"{options.root} has these settings already: nothing to revise")
        return 0
    for key, change in revision.settings.items():
        print(shown({key: change}))
    for name, (old, now) in revision.versions.items():
        print(f"{name}: version {old} -> {now}")
    for stage in revision.stages:
        print(f"  {stage.stage:<10} {stage.done:>6} of {stage.units} units to be redone")
    if revision.removed:
        print(f"{len(revision.removed)} files or folders that the new settings have no place for are removed")
    if options.dry_run:
        print("nothing was changed")
        return 0
    revise(revision)
    print(f"study.yaml holds the new settings: `concepts run {options.config} --root {options.root}` redoes the rest")
    return 0


def _thresholds(options: argparse.Namespace) -> int:
    from study.config import load_config

    config = load_config(options.config, options.set)
    from study.opening import open_existing
    from tasks.thresholds import calibrate_thresholds

    study = open_existing(options.root, config)
    thresholds = calibrate_thresholds(study, options.out, options.min_positives)
    own = [one for one in thresholds if one.threshold is not None]
    print(f"{options.out}: {len(own)} of {len(thresholds)} labels have a threshold of their own")
    return 0


def _card(options: argparse.Namespace) -> int:
    from storage.lock import writing
    from storage.study import read_study
    from tasks.pages import draw_cards

    read_study(options.dir)  # nothing is locked where there is no study
    with writing(options.dir, "concepts card", options.wait):
        for path in draw_cards(options.dir, options.site, options.cid, options.k):
            print(path)
    return 0


def _status(options: argparse.Namespace) -> int:
    from rich.filesize import decimal

    from storage.text import printable
    from study.status import status

    overview = status(options.dir)
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


def _verify(options: argparse.Namespace) -> int:
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


def _repair(options: argparse.Namespace) -> int:
    from storage.lock import writing
    from study.repair import plan_repair, repair

    plan = plan_repair(options.dir, options.unit)  # what cannot be repaired is told before a folder is locked
    if not options.dry_run:
        with writing(options.dir, "concepts repair", options.wait):
            plan = plan_repair(options.dir, options.unit)
            repair(options.dir, plan)
    for line in plan.told():
        print(line)
    if options.dry_run:
        print("nothing was changed")
    elif plan.forgotten:
        print(f"`concepts run` with the study's configuration and --root {options.dir} makes them again")
    return 0


def _query(options: argparse.Namespace) -> int:
    from storage.errors import StorageError
    from storage.query import query, rendered

    terminal = sys.stdout.isatty()
    if options.format == "parquet" and terminal:
        raise StorageError("--format parquet writes bytes, not text: send them to a file, as in `... > answer.parquet`")
    answer = query(options.dir, options.sql, options.format, _note)
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


def _serve(options: argparse.Namespace) -> int:
    from flows.environment import prepare
    from study.config import load_config

    load_config(options.config)
    os.environ |= {"PREFECT_LOGGING_LEVEL": "INFO", "CONCEPTS_CONSOLE": "all"}
    prepare()
    from flows.schedule import study_schedule

    schedule = study_schedule(options.cron, options.timezone)
    from flows.serve import serve_all

    serve_all(str(options.config), str(options.root), schedule, options.port)
    return 0


def _server(options: argparse.Namespace) -> int:
    from flows.environment import prepare

    prepare(with_api=False)
    from flows.serve import run_server

    run_server(options.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
