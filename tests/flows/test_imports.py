"""Model libraries are imported before the first unit, whoever has the server, and not looked through for garbage."""

import gc
import subprocess
import sys

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.server import prefect_server
from study.imports import import_kept
from tests.paths import ROOT


def test_what_is_imported_is_no_garbage(tmp_path, monkeypatch):
    (tmp_path / "imported_once.py").write_text("import gc\nlooks = gc.isenabled()\n")
    monkeypatch.syspath_prepend(tmp_path)
    import_kept("imported_once")
    assert sys.modules["imported_once"].looks is False
    assert gc.isenabled() and gc.get_freeze_count() > 10_000  # this process has imported torch


def test_work_is_imported_also_where_a_server_is_configured():
    called = []
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}),
        prefect_server(meanwhile=lambda: called.append(1)) as url,
    ):
        assert (url, called) == ("http://127.0.0.1:1/api", [1])


ENDS = """
import atexit, gc
atexit.register(lambda: print(gc.get_freeze_count() > 1000, len(gc.get_objects()) < 1000))
from flows.cli import main
raise SystemExit(main())
"""


def test_at_its_end_a_command_is_not_looked_through(tmp_path):
    command = [sys.executable, "-c", ENDS, "status", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "is not a study folder" in done.stderr
    assert done.stdout.splitlines()[-1] == "True True"


LIGHT = """
import sys
import pyarrow as pa
from flows.lightness import start_lightly
start_lightly()
column = pa.array([1, 2])
assert "pandas" not in sys.modules
print(list(pa.table({"a": column}).to_pandas().a), pa.array(sys.modules["pandas"].Series([1.0, None])).null_count)
"""


def test_arrow_that_was_told_of_no_pandas_still_makes_data_frames():
    done = subprocess.run([sys.executable, "-c", LIGHT], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split("\n")[0] == "[1, 2] 1", done.stderr


SEARCHED = """
import sys
from importlib import metadata
asked = []
listed = metadata.distributions
metadata.distributions = lambda *given, **named: asked.append(1) or listed(*given, **named)
from flows.cli import main
sys.argv[1:] = {arguments}
code = main()
print(code, asked, "pydantic" in sys.modules)
"""


@pytest.mark.parametrize("arguments", [["status", "NONE"], ["explore", "NONE"]], ids=lambda given: given[0])
def test_what_answers_at_once_does_not_search_every_package_for_plug_ins(tmp_path, arguments):
    arguments = [part.replace("NONE", str(tmp_path / "none")) for part in arguments]
    code = SEARCHED.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "2 [] True" and "is not a study folder" in done.stderr, done.stderr


PLAIN = """
import sys
from flows.lightness import start_lightly
start_lightly(["pyarrow.dataset"])
import pyarrow as pa, pyarrow.compute as pc, pyarrow.dataset as ds
table = pa.table({"a": [2, None, 1], "b": [[1.5], [], None]})
assert "numpy" not in sys.modules and "pandas" not in sys.modules
kept = ds.dataset(table).to_table(filter=pc.field("a") > 1)
import numpy
print(kept.to_pylist(), numpy.arange(2).tolist())
"""


def test_arrow_that_was_told_of_no_numpy_reads_and_who_wants_numpy_has_it():
    done = subprocess.run([sys.executable, "-c", PLAIN], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[{'a': 2, 'b': [1.5]}] [0, 1]\n", done.stderr
