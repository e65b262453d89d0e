"""Runs a module's tests against its mutants, each in a forked process that has the heavy libraries already.

In the child an import hook gives the mutated code in the place of the module, before any test imports it. The parent
never imports what is under the root, so no child sees an unmutated copy.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib
import importlib.machinery
import importlib.util
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

EXAMPLES = 20  # of a hypothesis test, at the most
MEMORY = 4 << 30  # bytes that a child may take beyond what it inherits
CPU_SECONDS = 5.0
CPU_TIMES = 4.0  # a mutant hangs if it takes so many times what the module takes, and ``CPU_SECONDS`` more
WALL_TIMES = 10.0  # a child that sleeps, or shares its core, is waited for so many times as long


@dataclass
class Subject:
    """A module, the tests that have to kill its mutants, and what running them unmutated has told."""

    root: Path
    path: str
    tests: Sequence[str]
    examples: int = EXAMPLES
    patience: float = CPU_SECONDS
    durations: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The module as it is imported."""
        return ".".join(Path(self.path).with_suffix("").parts)

    @property
    def source(self) -> str:
        """The module's text."""
        return (self.root / self.path).read_text(encoding="utf-8")


class BaselineError(Exception):
    """The tests do not pass without a mutant, or never import the module."""


class _Swap(importlib.machinery.SourceFileLoader):
    """Finds and loads one module from the code that it is given."""

    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self.code, self.used = code, False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        self.used = True
        return self.code


class _Watch:
    """A pytest plugin: the quickest tests first, and how long each took."""

    def __init__(self, durations: dict[str, float]) -> None:
        self.before, self.durations = durations, dict[str, float]()

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items.sort(key=lambda item: self.before.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.durations[report.nodeid] = self.durations.get(report.nodeid, 0.0) + report.duration


def prepare(subject: Subject, folder: Path) -> None:
    """Run the tests on the module as it is, and take over what they import from elsewhere and set in the environment.

    Raises ``BaselineError`` if they fail, or never import the module.
    """
    told, said = folder / "told.json", folder / "said.txt"
    child = _fork(subject, ast.parse(subject.source), folder, lambda: None, said=said, told=told)
    status, seconds = _waited(child)
    if status != 0:
        raise BaselineError(f"{subject.path}: its tests fail without a mutant:\n{said.read_text(errors='replace')}")
    facts = json.loads(told.read_text())
    if not facts["used"]:
        raise BaselineError(f"{subject.path}: {', '.join(subject.tests)} never import it")
    subject.durations, subject.seconds = facts["durations"], seconds
    os.environ.update(facts["environ"])
    for name in facts["imported"]:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def killed(
    subject: Subject, tree: ast.Module, applies: Sequence[Callable[[], None]], workers: int, folder: Path
) -> Iterator[tuple[int, bool]]:
    """(number of the mutant, whether the tests told it from the module), as they end; ``applies`` change ``tree``."""
    limit = subject.patience + CPU_TIMES * subject.seconds
    gc.freeze()
    running: dict[int, tuple[int, float]] = {}
    waiting = list(enumerate(applies))[::-1]
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                number, apply = waiting.pop()
                running[_fork(subject, tree, folder, apply, limit)] = number, time.monotonic()
            for child, (number, began) in list(running.items()):
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    del running[child]
                    yield number, status != 0
                elif time.monotonic() - began > WALL_TIMES * limit:
                    _stop(child)
            time.sleep(0.01)
    finally:
        for child in running:
            _stop(child)
            os.waitpid(child, 0)


def _fork(
    subject: Subject,
    tree: ast.Module,
    folder: Path,
    apply: Callable[[], None],
    limit: float | None = None,
    said: Path = Path(os.devnull),
    told: Path | None = None,
) -> int:
    """Start a child that applies the mutation and runs the tests; its exit status is theirs."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setsid()
        _say_into(said)
        _limit(limit)
        apply()
        ast.fix_missing_locations(tree)
        code = compile(tree, str(subject.root / subject.path), "exec")
        status = _tested(subject, code, folder / f"tmp{os.getpid()}", told)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _tested(subject: Subject, code: CodeType, scratch: Path, told: Path | None) -> int:
    """pytest's exit code over the module's tests."""
    before = dict(os.environ)
    os.chdir(subject.root)
    sys.path.insert(0, str(subject.root))
    os.environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "OMP_NUM_THREADS": "1"}
    swap, watch = _Swap(subject.name, str(subject.root / subject.path), code), _Watch(subject.durations)
    sys.meta_path.insert(0, swap)
    _few_examples(subject.examples)
    import pytest

    arguments = ["-x", "-q", "-p", "no:cacheprovider", "-o", "addopts=", "--basetemp", str(scratch)]
    status = int(pytest.main([*arguments, "--rootdir", str(subject.root), *subject.tests], plugins=[watch]))
    shutil.rmtree(scratch, ignore_errors=True)
    if told:
        elsewhere = [name for name, module in list(sys.modules.items()) if _from_elsewhere(subject.root, module)]
        changed = {name: value for name, value in os.environ.items() if before.get(name) != value}
        changed = {name: value for name, value in changed.items() if not name.startswith("PYTEST_")}
        facts = {"used": swap.used, "durations": watch.durations, "imported": elsewhere, "environ": changed}
        told.write_text(json.dumps(facts))
    return status


def _from_elsewhere(root: Path, module: ModuleType) -> bool:
    """Whether a module lies in the installed libraries, so that the parent may have it."""
    file = getattr(module, "__file__", None)
    if not file or module.__name__ == "__main__":
        return False
    return "site-packages" in Path(file).parts or not Path(file).is_relative_to(root)


def _few_examples(most: int) -> None:
    """The same few examples of every hypothesis test, in every run."""
    try:
        from hypothesis import HealthCheck, settings
    except ImportError:
        return
    given = settings.__init__

    def fewer(self: settings, *args: Any, **options: Any) -> None:
        if isinstance(options.get("max_examples"), int):
            options["max_examples"] = min(options["max_examples"], most)
        given(self, *args, **options)

    settings.__init__ = fewer
    quiet = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
    settings.register_profile("mutants", max_examples=most, derandomize=True, **quiet)
    settings.load_profile("mutants")


def _say_into(path: Path) -> None:
    out = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(out, stream)


def _limit(cpu_seconds: float | None) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if cpu_seconds is None:
        return
    seconds = int(cpu_seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _waited(child: int) -> tuple[int, float]:
    """(exit status, seconds of CPU time) of a child, once it has ended."""
    _, status, usage = os.wait4(child, 0)
    return status, usage.ru_utime + usage.ru_stime


def _stop(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
