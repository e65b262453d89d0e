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
from flows.lightness import keep_pandas_away, keep_plugins_away, start_lightly
from flows.locales import ensure_utf8, print_in_any_encoding, refuse_torn
from flows.sentences import sentence_of
from flows.spellings import present
from study.stages import stages_of

INTERRUPTED = 130
# They answer within a second. What of Arrow they need, of which each part looks for NumPy; ``verify`` counts with that.
READING: dict[str, tuple[str, ...]] = {"status": ("pyarrow.dataset",), "query": ("pyarrow",), "verify": ()}
SHOWING = ("explore", "export-site")  # they show a study, and start no process
# Commands of modules of their own, which are imported by who gives one.
ELSEWHERE = {
    "edit": ("flows.editing", "edit"),
    "setup": ("flows.setting_up", "run"),
    "explore": ("flows.exploring", "run"),
    "export-site": ("flows.exploring", "export"),
    **{name: ("flows.reading", name) for name in READING},
    **{name: ("flows.changing", name) for name in ("revise", "repair", "card", "thresholds")},
}
# They publish units or rows, of which an interruption leaves those that are whole.
MAKING = ("run", *STAGES, "bench", "revise", "repair", "edit", "thresholds", "card", "serve")
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
        if sys.argv[1:2] and sys.argv[1] in READING:
            start_lightly(READING[sys.argv[1]])
        elif sys.argv[1:2] and sys.argv[1] in ("run", *SHOWING, *STAGES):
            keep_pandas_away()
            if sys.argv[1] in SHOWING:
                keep_plugins_away()
        code = _main(sys.argv[1:])
        gc.freeze()  # Python would look for garbage once more at its end: two seconds among torch and Prefect
        return code
    with variables_kept():
        return _main(arguments)


def _main(arguments: list[str]) -> int:
    print_in_any_encoding()
    arguments, notices = present(arguments)
    options = parser().parse_args(arguments)
    if not getattr(options, "verbose", False):
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
    from flows.interrupts import LEFT, MESSAGE, ended_by_signals

    last_words = MESSAGE if options.command in MAKING else LEFT
    try:
        with ended_by_signals(SERVE_GRACE if options.command == "serve" else 0.0, last_words):
            refuse_torn(arguments)
            for notice in notices:
                print(f"concepts: {notice}", file=sys.stderr)
            code = _dispatch(options)
            sys.stdout.flush()  # here, where a full disk behind it can be told in a sentence
            return code
    except KeyboardInterrupt:  # not in the main thread of a process, where signals are heard
        print(last_words, file=sys.stderr)
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
        "check": _check,
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
    with writing(options.root, f"concepts {options.command}", options.wait, share=config.run.share):
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
    from study.imports import import_kept, import_work

    import_kept("flows.server", "flows.whole")
    from flows.server import prefect_server, though_the_api_goes
    from flows.stages import FLOWS, OPTIONAL_FLOWS
    from flows.whole import study_flow

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


def _serve(options: argparse.Namespace) -> int:
    from flows.environment import prepare
    from study.config import load_config

    load_config(options.config)
    os.environ |= {"PREFECT_LOGGING_LEVEL": "INFO", "CONCEPTS_CONSOLE": "all"}
    prepare()
    from flows.schedule import study_schedule

    schedule = study_schedule(options.cron, options.timezone)
    from prefect.settings import PREFECT_API_URL

    from flows.server import prefect_server
    from study.imports import import_kept

    own = not PREFECT_API_URL.value()
    # The flows are imported while a server of our own comes up, which takes as long.
    with prefect_server(options.port, meanwhile=lambda: import_kept("flows.serve")) as url:
        from flows.serve import serve_all

        serve_all(url, own, str(options.config), str(options.root), schedule)
    return 0


def _server(options: argparse.Namespace) -> int:
    from flows.environment import prepare

    prepare(with_api=False)
    from flows.server import run_server

    run_server(options.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
