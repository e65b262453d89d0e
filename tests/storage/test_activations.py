import os
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from storage.activations import ActivationStore
from storage.errors import StorageError
from storage.vectors import VectorSource

SITE = ("mid", 0.5, "cond")


def filled(root, prompts=11, size=4, shape=(2, 3, 5), compression="none"):
    store = ActivationStore.create(root, {SITE: shape}, prompts, size, compression)
    data = np.random.default_rng(0).normal(size=(prompts, *shape)).astype(np.float16)
    for shard in range(store.n_shards):
        start, stop = store.shard_range(shard)
        store.write_shard(SITE, shard, data[start:stop])
    return store, data


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("vectors"))


def test_what_is_written_is_read_back_bit_for_bit(tmp_path):
    store, data = filled(tmp_path)
    assert np.array_equal(store.read(SITE, 0, 11), data)
    assert np.array_equal(store.read(SITE, 3, 9), data[3:9])


def test_plain_zarr_reads_the_layout_of_the_contract(tmp_path):
    _, data = filled(tmp_path)
    array = zarr.open_array(tmp_path / "activations.zarr" / "mid" / "0.50" / "cond", mode="r")
    assert array.metadata.dimension_names == ("prompt", "row", "column", "channel")
    assert array.dtype == np.float16 and array.shards[0] == 4
    assert np.array_equal(array[:], data)


def test_writing_a_shard_twice_gives_the_same_bytes(tmp_path):
    store, data = filled(tmp_path)
    before = store.checksum(SITE, 1)
    store.write_shard(SITE, 1, data[4:8])
    assert store.checksum(SITE, 1) == before


def test_a_flipped_byte_is_noticed(tmp_path):
    store, _ = filled(tmp_path)
    file = store.shard_file(SITE, 0)
    damaged = bytearray(file.read_bytes())
    damaged[10] ^= 0xFF
    file.write_bytes(bytes(damaged))
    with pytest.raises(StorageError, match=r"mid/0.50/cond is damaged"):
        store.read(SITE, 0, 4)


def test_bad_arrays_are_refused_by_name(tmp_path):
    store, data = filled(tmp_path)
    broken = data[4:8].copy()
    broken[2, 0, 0, 0] = np.inf
    with pytest.raises(StorageError, match=r"mid/0.50/cond are not finite for prompt 6"):
        store.write_shard(SITE, 1, broken)
    with pytest.raises(StorageError, match="must have shape"):
        store.write_shard(SITE, 1, data[:3])
    with pytest.raises(StorageError, match="has no site"):
        store.read(("mid", 0.25, "cond"), 0, 1)
    with pytest.raises(StorageError, match="other sites or prompts"):
        ActivationStore.create(tmp_path, {SITE: (2, 3, 5)}, 12, 4)
    too_large = data[4:8].astype(np.float32)
    too_large[1] = 1e6
    with pytest.raises(StorageError, match=r"mid/0.50/cond are not finite for prompt 5: float16 overflows"):
        store.write_shard(SITE, 1, too_large)


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from(["none", "zstd"]))
def test_whatever_is_written_after_reopening_is_read_back(tmp_path_factory, data, compression):
    """Zeros of either sign and the last, short shard among it."""
    root = tmp_path_factory.mktemp("store")
    shape = data.draw(st.tuples(*[st.integers(1, 3)] * 3))
    prompts, size = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 5))
    ActivationStore.create(root, {SITE: shape, ("up", 0.0, "cond"): shape}, prompts, size, compression)
    finite = st.floats(width=16, allow_nan=False, allow_infinity=False)
    values = data.draw(arrays(np.float16, (prompts, *shape), elements=st.one_of(st.just(0.0), finite)))
    for shard in data.draw(st.permutations(range(-(-prompts // size)))):
        store = ActivationStore.open(root)
        first, last = store.shard_range(shard)
        digest = store.write_shard(SITE, shard, values[first:last])
        assert digest == store.checksum(SITE, shard)
    start = data.draw(st.integers(0, prompts))
    stop = data.draw(st.integers(start, prompts))
    assert ActivationStore.open(root).read(SITE, start, stop).tobytes() == values[start:stop].tobytes()


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_shard_that_is_not_there_whole_is_never_zeros(tmp_path, compression):
    store, data = filled(tmp_path, compression=compression)
    file = store.shard_file(SITE, 1)
    whole = file.read_bytes()
    named = "shard 1 of mid/0.50/cond {} .*: run `concepts repair`"
    file.unlink()
    with pytest.raises(StorageError, match=named.format("is missing")):
        store.read(SITE, 3, 5)
    file.mkdir()
    with pytest.raises(StorageError, match=named.format("is no file")):
        store.read(SITE, 0, 11)
    file.rmdir()
    for wrong in (b"", whole[:-1], whole[:40], whole + b"\0", whole[1:]):
        file.write_bytes(wrong)
        with pytest.raises(StorageError, match=r"mid/0.50/cond"):
            store.read(SITE, 4, 8)
    assert np.array_equal(store.read(SITE, 0, 4), data[:4]) and np.array_equal(store.read(SITE, 8, 11), data[8:])


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_every_flipped_byte_is_noticed(tmp_path, compression):
    store, data = filled(tmp_path, prompts=4, shape=(1, 2, 5), compression=compression)
    file = store.shard_file(SITE, 0)
    whole = file.read_bytes()
    for at in range(len(whole)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with pytest.raises(StorageError, match=r"mid/0.50/cond"):
            store.read(SITE, 0, 4)
    file.write_bytes(whole)
    assert np.array_equal(store.read(SITE, 0, 4), data)


def test_a_shard_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    store, data = filled(tmp_path)
    done, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda d: done.append(str(Path(f"/proc/self/fd/{d}").readlink())) or fsync(d))
    monkeypatch.setattr(os, "replace", lambda a, b: done.append("named") or replace(a, b))
    shutil.rmtree(store.path / "mid" / "0.50" / "cond" / "c" / "1")
    store.write_shard(SITE, 1, data[4:8])
    flushed = [place.removeprefix(f"{store.path}/mid/0.50/cond/c") for place in done]
    assert flushed[0].startswith("/1/0/0/.0.") and flushed[1:] == ["named", "/1/0/0", "/1/0", "/1", ""]


def buffers_of(store, start, stop, prompts, size):
    """A source that mixes within so many prompts, or within so many bytes."""
    return VectorSource(store, SITE, [(start, stop)], prompts, None if size is None else size * 60)  # 60 bytes a prompt


@settings(max_examples=25, deadline=None)
@given(
    start=st.integers(0, 5),
    stop=st.integers(6, 11),
    batch=st.integers(1, 20),
    prompts=st.integers(1, 12),
    size=st.none() | st.integers(0, 12),
    skip=st.integers(0, 5),
)
def test_batches_hold_every_vector_once_and_skip_exactly(shared_store, start, stop, batch, prompts, size, skip):
    store, data = shared_store
    source = buffers_of(store, start, stop, prompts, size)
    in_order = data[start:stop].reshape(-1, 5).astype(np.float32)
    assert np.array_equal(np.concatenate(list(source.chunks())), in_order)
    batches = list(source.batches(batch, seed=1, epoch=0))
    assert len(batches) == source.n_vectors // batch
    known = {row.tobytes() for row in in_order}
    seen = [row.tobytes() for b in batches for row in b]
    assert len(set(seen)) == len(seen) and set(seen) <= known
    resumed = list(source.batches(batch, seed=1, epoch=0, skip=skip))
    assert len(resumed) == max(len(batches) - skip, 0)
    assert all(np.array_equal(a, b) for a, b in zip(resumed, batches[skip:], strict=True))


def batches_as_first_written(data, start, stop, prompts, batch, seed, epoch):
    """The order of the first release, written out: what studies of that time are to be trained on to the end."""
    edges = sorted({start, stop, *range(-(-start // 4) * 4, stop, 4)})
    blocks, rng, held, order = list(pairwise(edges)), np.random.default_rng((seed, epoch)), [], []
    shuffled = rng.permutation(len(blocks))
    for place, index in enumerate(shuffled):
        held.append(data[slice(*blocks[index])])
        if sum(map(len, held)) >= max(prompts, 4) or place == len(shuffled) - 1:
            vectors = np.concatenate(held).reshape(-1, 5)
            order.append(vectors[rng.permutation(len(vectors))])
            held = []
    vectors = np.concatenate(order).astype(np.float32)
    return [vectors[at : at + batch] for at in range(0, len(vectors) - batch + 1, batch)]


@settings(max_examples=25, deadline=None)
@given(
    start=st.integers(0, 5),
    stop=st.integers(6, 11),
    batch=st.integers(1, 20),
    prompts=st.integers(1, 12),
    epoch=st.integers(0, 2),
)
def test_the_order_of_batches_never_changes(shared_store, start, stop, batch, prompts, epoch):
    """By prompts as by bytes, where all fits into one buffer."""
    store, data = shared_store
    for size in (None, stop - start):
        found = list(buffers_of(store, start, stop, prompts, size).batches(batch, seed=5, epoch=epoch))
        given = prompts if size is None else 2048
        wanted = batches_as_first_written(data, start, stop, given, batch, 5, epoch)
        assert len(found) == len(wanted) and all(map(np.array_equal, found, wanted))


@settings(max_examples=25, deadline=None)
@given(start=st.integers(0, 5), stop=st.integers(6, 11), size=st.integers(0, 12))
def test_a_buffer_holds_no_more_than_its_bytes_or_a_shard(shared_store, start, stop, size):
    store, _ = shared_store
    source, held = buffers_of(store, start, stop, 2048, size), []
    source._empty = lambda prompts: held.append(prompts) or VectorSource._empty(source, prompts)
    list(source.batches(3, seed=0, epoch=0))
    assert len(held) == 1 and held[0] <= max(size, 4)


def test_a_resumed_reader_does_not_read_what_it_skips(tmp_path, monkeypatch):
    store, _ = filled(tmp_path, prompts=40)
    source = VectorSource(store, SITE, [(0, 40)], buffer_prompts=4)
    read, original = [], ActivationStore.read
    monkeypatch.setattr(
        ActivationStore, "read", lambda self, site, a, b: read.append((a, b)) or original(self, site, a, b)
    )
    whole = list(source.batches(10, seed=3, epoch=1))
    everything = len(read)
    read.clear()
    late = list(source.batches(10, seed=3, epoch=1, skip=len(whole) - 2))
    assert len(late) == 2 and np.array_equal(late[0], whole[-2])
    assert len(read) <= 2 < everything


def test_a_value_that_is_not_finite_is_named_by_shard_and_prompt(tmp_path):
    store, _ = filled(tmp_path)
    zarr.open_array(tmp_path / "activations.zarr" / "mid" / "0.50" / "cond", mode="r+")[6, 1, 2, 3] = np.nan
    with pytest.raises(
        StorageError, match=r"mid/0.50/cond are not finite for prompt 6 \(shard 1\): run .* --unit collect/000001,"
    ):
        list(VectorSource(store, SITE, [(0, 11)]).chunks())
