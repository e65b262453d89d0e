"""The process that a local cluster's workers are forked from: what it imports, from where, and what it is given."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.paths import ROOT

pytestmark = pytest.mark.system
FORKED = """
import multiprocessing, os
from tasks.workers import METHOD, prepare_workers
from tests.tasks.test_workers import tell

before = dict(os.environ)
prepare_workers()
assert dict(os.environ) == before
worker = multiprocessing.get_context(METHOD).Process(target=tell)
worker.start()
worker.join()
"""


def tell() -> None:
    """What the forked process knows, as JSON."""
    facts = {
        "imported": [name for name in ("tasks.collect", "tasks.intervene", "distributed") if name in sys.modules],
        "tasks": sys.modules["tasks"].__file__,
        "threads": os.environ["OMP_NUM_THREADS"],
        "interrupts": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    }
    print(json.dumps(facts), flush=True)


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
def test_workers_are_forked_with_everything_imported_and_nothing_from_the_current_folder(tmp_path):
    for name in ("tasks", "study", "distributed"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger was run')")
    variables = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-P", "-c", FORKED]
    done = subprocess.run(
        command, cwd=tmp_path, env=variables | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120
    )
    assert done.stderr == "" and done.returncode == 0
    told = json.loads(done.stdout)
    assert told["imported"] == ["tasks.collect", "tasks.intervene", "distributed"]
    assert told["tasks"] == str(ROOT / "tasks" / "__init__.py")
    assert told["threads"] == "1" and told["interrupts"]
