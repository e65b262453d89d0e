import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.activations import ActivationStore
from storage.errors import StorageError
from storage.vectors import VectorSource

SITE = ("mid", 0.5, "cond")


def filled(root, prompts=11, size=4, shape=(2, 3, 5)):
    store = ActivationStore.create(root, {SITE: shape}, prompts, size)
    data = np.random.default_rng(0).normal(size=(prompts, *shape)).astype(np.float16)
    for shard in range(store.n_shards):
        start, stop = store.shard_range(shard)
        store.write_shard(SITE, shard, data[start:stop])
    return store, data


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
    with pytest.raises(StorageError, match="mid/0.50/cond is damaged"):
        store.read(SITE, 0, 4)


def test_bad_arrays_are_refused_by_name(tmp_path):
    store, data = filled(tmp_path)
    broken = data[4:8].copy()
    broken[2, 0, 0, 0] = np.inf
    with pytest.raises(StorageError, match="mid/0.50/cond are not finite for prompt 6"):
        store.write_shard(SITE, 1, broken)
    with pytest.raises(StorageError, match="must have shape"):
        store.write_shard(SITE, 1, data[:3])
    with pytest.raises(StorageError, match="has no site"):
        store.read(("mid", 0.25, "cond"), 0, 1)
    with pytest.raises(StorageError, match="other sites or prompts"):
        ActivationStore.create(tmp_path, {SITE: (2, 3, 5)}, 12, 4)


@settings(max_examples=25, deadline=None)
@given(
    start=st.integers(0, 5),
    stop=st.integers(6, 11),
    batch=st.integers(1, 20),
    buffer=st.integers(1, 12),
    skip=st.integers(0, 5),
)
def test_batches_hold_every_vector_once_and_skip_exactly(tmp_path_factory, start, stop, batch, buffer, skip):
    root = tmp_path_factory.mktemp("vectors")
    store, data = filled(root)
    source = VectorSource(store, SITE, start, stop, buffer)
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


def test_a_resumed_reader_does_not_read_what_it_skips(tmp_path, monkeypatch):
    store, _ = filled(tmp_path, prompts=40)
    source = VectorSource(store, SITE, 0, 40, buffer_prompts=4)
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
        StorageError, match=r"mid/0.50/cond are not finite for prompt 6 \(shard 1\): delete done/collect/000001"
    ):
        list(VectorSource(store, SITE, 0, 11).chunks())
