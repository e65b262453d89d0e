"""A page's memory is given back, and by whom."""

import ctypes
import os
import subprocess
import sys

import pyarrow as pa
import pytest

from explorer.memory import give_back_memory
from tests.paths import ROOT

TAKEN = """
import sys
from explorer.memory import give_back_memory
if sys.argv[1:] == ["frugal"]:
    give_back_memory()
first = [bytearray(2**21) for _ in range(20)]
del first  # from now on glibc takes blocks of that size from its heap
many = [(bytearray(2**21), bytearray(2**10)) for _ in range(50)]
small = [kept for _, kept in many]  # between them: what lies below cannot be given back
del many
held = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
print(int(held.split()[1]) / 1024)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_what_a_page_took_is_given_back():
    # Dask's nannies tune the C library of this process's children.
    untuned = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    how = {"check": True, "capture_output": True, "cwd": ROOT, "env": untuned}
    usual, frugal = (
        float(subprocess.run([sys.executable, "-c", TAKEN, *asked], **how).stdout) for asked in ([], ["frugal"])
    )
    assert frugal < usual - 60  # of a hundred megabytes


def test_arrow_takes_memory_from_where_it_is_given_back(monkeypatch):
    before = pa.default_memory_pool()
    try:
        monkeypatch.setattr("ctypes.CDLL", lambda name: object())  # a C library that cannot be tuned
        give_back_memory()
        assert pa.default_memory_pool().backend_name == "system"
    finally:
        pa.set_memory_pool(before)
