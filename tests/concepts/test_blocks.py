"""Sums of many labels: equal whether in memory or in the scratch file, and in bounded memory."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concepts import blocks
from concepts.blocks import Blocks
from concepts.errors import ConceptError
from tests.paths import ROOT


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 200), st.integers(-(2**40), 2**40)), max_size=300),
    room=st.integers(0, 5),
)
def test_blocks_of_the_file_hold_what_those_of_memory_do(steps, room):
    shape, expected = (2, 3, 7), {}
    found = Blocks(shape, in_memory=room * 8 * 42)
    for label, value in steps:
        name = f"label {label}"
        if name not in found:
            found.add(name)
            expected[name] = np.zeros(shape, np.int64)
            assert not found[name].any()
        found[name][label % 2] += value
        expected[name][label % 2] += value
    assert sorted(found) == sorted(expected) and len(found) == len(expected)
    assert all(np.array_equal(block, expected[name]) for name, block in found.items())


def test_a_full_disk_is_said_before_anything_is_written_to_it(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    found = Blocks((2, 3), in_memory=48)
    found.add("a")
    with pytest.raises(ConceptError, match=r"sums of 1 labels do not fit .*No space left.* set TMPDIR"):
        found.add("b")


FILLING = """
import resource, sys
import numpy as np
from concepts.blocks import Blocks
found = Blocks((2, 11, 5120), in_memory=20_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for number in range(400):
    found.add(str(number))
    found[str(number)][:] = number
assert all(int(block[1, 10, -1]) == int(label) for label, block in found.items())
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before), 400 * 2 * 11 * 5120 * 8)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is given back by madvise")
def test_memory_does_not_grow_with_the_labels():
    done = subprocess.run([sys.executable, "-c", FILLING], cwd=ROOT, capture_output=True, text=True, check=True)
    held, needed = map(int, done.stdout.split())
    bound = 20_000_000 + (blocks.MAPPED_AT_ONCE + blocks.EXTENT) * 2 * 11 * 5120 * 8
    assert held < bound < 0.6 * needed
