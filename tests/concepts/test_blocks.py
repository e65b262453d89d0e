"""Sums of many labels: equal whether in memory or in the scratch file, and in bounded memory."""

import errno
import mmap
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


ONE = 8 * 2 * 3  # bytes of a block of the shape below


def filled(labels, room=0, shape=(2, 3)):
    made = Blocks(shape, in_memory=room * ONE)
    for number in range(labels):
        made.add(str(number))
    return made


@pytest.fixture
def reserved(monkeypatch):
    """(start, bytes) by which scratch files were lengthened."""
    found, real = [], os.posix_fallocate
    monkeypatch.setattr(os, "posix_fallocate", lambda file, *extent: found.append(extent) or real(file, *extent))
    return found


@pytest.mark.parametrize("room", [0, 1, 3])
def test_as_many_blocks_as_there_is_memory_for_make_no_file(reserved, room):
    filled(room, room)
    assert reserved == []
    filled(room + 1, room)
    assert len(reserved) == 1


def test_a_file_grows_by_whole_extents_end_to_end(reserved, monkeypatch):
    """By no more pages than the blocks need, and by none for blocks that still have a place."""
    monkeypatch.setattr(blocks, "EXTENT", 300)
    made = filled(900)
    page = mmap.ALLOCATIONGRANULARITY
    size = (300 * ONE + page - 1) // page * page
    assert reserved == [(0, size), (size, size), (2 * size, size)] and size > page
    for number in range(900):
        made[str(number)][:] = number
    assert all((block == int(label)).all() for label, block in made.items())
    filled(300), filled(301)
    assert reserved[3:] == [(0, size), (0, size), (size, size)]


def test_an_extent_of_whole_pages_has_no_page_more(reserved, monkeypatch):
    monkeypatch.setattr(blocks, "EXTENT", mmap.ALLOCATIONGRANULARITY // 16)
    filled(1, shape=(2,))
    assert reserved == [(0, mmap.ALLOCATIONGRANULARITY)]


def test_a_system_that_cannot_reserve_room_lengthens_the_file(monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    monkeypatch.setattr(blocks, "EXTENT", 2)
    made = filled(5)
    for number in range(5):
        made[str(number)][:] = number
    assert [int(made[str(number)][1, 2]) for number in range(5)] == list(range(5))


@pytest.fixture
def given_back(monkeypatch):
    """The maps whose memory was given back, in order."""
    found = []

    class Watched(mmap.mmap):
        def madvise(self, *advice):
            found.append((id(self), *advice))
            return super().madvise(*advice)

    monkeypatch.setattr(blocks.mmap, "mmap", Watched)
    monkeypatch.setattr(blocks, "MAPPED_AT_ONCE", 3)
    monkeypatch.setattr(blocks, "EXTENT", 2)
    return found


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="memory is given back by madvise")
def test_memory_is_given_back_after_so_many_looks_at_blocks_of_the_file(given_back):
    made = filled(4)
    for looks, times in ((3, 0), (1, 1), (2, 1), (1, 1), (1, 2)):  # at every fourth look
        for _ in range(looks):
            made["0"][:] = 7
        assert len(given_back) == 2 * times
    assert len({place for place, _ in given_back}) == 2 and {advice for _, advice in given_back} == {mmap.MADV_DONTNEED}
    assert (made["0"] == 7).all()  # what was given back is read from the file


def test_without_a_file_nothing_is_given_back(given_back):
    made = filled(2, room=2)
    for _ in range(9):
        made["1"][:] = 1
    assert given_back == []


def test_a_system_without_such_advice_goes_on(given_back, monkeypatch):
    monkeypatch.delattr(mmap, "MADV_DONTNEED")
    made = filled(1)
    for _ in range(9):
        made["0"][:] += 1
    assert given_back == [] and (made["0"] == 9).all()


def test_the_sizes_that_keep_memory_small():
    """A gigabyte of blocks, and of the file some 200 blocks of 0.9 MB."""
    assert (blocks.IN_MEMORY, blocks.MAPPED_AT_ONCE, blocks.EXTENT) == (1_000_000_000, 128, 64)


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
