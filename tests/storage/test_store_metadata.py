"""Metadata of the activation store: made whole or not at all, never over a shard, checked when they are read."""

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from storage import store_documents
from storage.activations import ActivationStore
from storage.errors import StorageError
from storage.store_documents import compression_of, make_documents, rewrite_metadata
from storage.store_metadata import NoStoreError, StoreFacts, read_documents, store_path
from tests.paths import ROOT

MID, UP = ("mid", 0.5, "cond"), ("up", 0.0, "uncond")
SHAPES = {MID: (2, 3, 5), UP: (1, 1, 2)}
FACTS = StoreFacts(SHAPES, 11, 4)
DOCUMENTS = [
    "zarr.json",
    *(f"{folder}/zarr.json" for folder in ("mid", "mid/0.50", "mid/0.50/cond", "up", "up/0.00", "up/0.00/uncond")),
]


def create(root, compression="none"):
    return ActivationStore.create(root, SHAPES, 11, 4, compression)


def filled(root, compression="none"):
    store = create(root, compression)
    data = {
        site: np.random.default_rng(0).normal(size=(11, *shape)).astype(np.float16) for site, shape in SHAPES.items()
    }
    for site in store.sites:
        for shard in range(store.n_shards):
            store.write_shard(site, shard, data[site][slice(*store.shard_range(shard))])
    return store, data


def values():
    rng = np.random.default_rng(0)
    return {site: rng.normal(size=(11, *shape)).astype(np.float16) for site, shape in SHAPES.items()}


def data_of(root, within=""):
    return {name: data for name, (_, data) in contents(root).items() if within in name}


def contents(root):
    return {str(p.relative_to(root)): (p.stat().st_mtime_ns, p.read_bytes()) for p in root.rglob("*") if p.is_file()}


def test_opening_and_creating_again_change_nothing(tmp_path):
    filled(tmp_path)
    before = contents(tmp_path)
    assert set(DOCUMENTS) <= {name.removeprefix("activations.zarr/") for name in before}
    ActivationStore.open(tmp_path).read(MID, 0, 11)
    create(tmp_path)
    create(tmp_path, "zstd")  # a store keeps the compression that it has
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "no mapping", "changed"])
def test_lost_metadata_never_cost_a_shard(tmp_path, name, damage):
    store, data = filled(tmp_path)
    file = store.path / name
    whole = file.read_bytes()
    changed = json.loads(whole)
    changed["attributes"]["n_prompts"] = 12
    wrong = {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "no mapping": b"[]",
        "changed": json.dumps(changed).encode(),
    }
    file.unlink() if damage == "gone" else file.write_bytes(wrong[damage])
    before = contents(tmp_path)
    for attempt in (ActivationStore.open, create):
        with pytest.raises(StorageError, match=r"zarr\.json .*run `concepts repair`") as caught:
            attempt(tmp_path)
        assert not isinstance(caught.value, NoStoreError)
    assert contents(tmp_path) == before
    rewrite_metadata(tmp_path, FACTS)
    assert all(np.array_equal(ActivationStore.open(tmp_path).read(site, 0, 11), data[site]) for site in SHAPES)
    assert file.read_bytes() == whole


@pytest.mark.parametrize("key", ["attributes", "consolidated_metadata"])
def test_a_root_without_one_of_its_parts_is_named(tmp_path, key):
    store, _ = filled(tmp_path)
    root = json.loads((store.path / "zarr.json").read_text())
    del root[key]
    (store.path / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(StorageError, match=r"lacks its attributes or the copies .* run `concepts repair`"):
        create(tmp_path)


@pytest.mark.parametrize(
    "change", [{"n_prompts": 12}, {"shard_size": 2}, {"sites": []}, {"sites": [1]}, {"format": 99}]
)
def test_changed_attributes_are_noticed(tmp_path, change):
    store, _ = filled(tmp_path)
    root = json.loads((store.path / "zarr.json").read_text())
    root["attributes"] |= change
    (store.path / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(StorageError, match="upgrade concept-atlas" if change.get("format") == 99 else "run `concepts"):
        ActivationStore.open(tmp_path)


def test_metadata_are_made_again_when_there_is_no_shard(tmp_path):
    whole = data_of(create(tmp_path).path)
    for name in DOCUMENTS:
        (store_path(tmp_path) / name).unlink()
        with pytest.raises(NoStoreError, match="run `concepts collect`"):
            ActivationStore.open(tmp_path)
        create(tmp_path)
        assert data_of(store_path(tmp_path)) == whole


def test_a_failure_at_any_point_of_creating_leaves_no_store_or_a_whole_one(tmp_path, monkeypatch):
    """Of every system call by which it writes: the disk is full there, and the next attempt makes the store."""
    facts = StoreFacts({UP: SHAPES[UP]}, 11, 4)
    made = make_documents(facts, "none")
    monkeypatch.setattr(store_documents, "make_documents", lambda *_: made)
    for name in ("mkdir", "open", "fsync", "replace"):
        for point in range(1000):
            root = tmp_path / f"{name}-{point}"
            with monkeypatch.context() as patched:
                patched.setattr(os, name, failing_at(point, getattr(os, name)))
                try:
                    ActivationStore.create(root, facts.shapes, 11, 4)
                except StorageError as error:
                    said = str(error)
                else:
                    break
            assert "disk full while writing" in said
            ActivationStore.create(root, facts.shapes, 11, 4).write_shard(UP, 0, np.zeros((4, 1, 1, 2), np.float16))
            assert read_documents(root)[0] == facts
        assert point > 3, f"os.{name} is not used any more"


def failing_at(point, real):
    """A system call that finds the disk full once, at its call number ``point``."""
    calls = itertools.count()

    def call(*given, **named):
        if next(calls) == point:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*given, **named)

    return call


KILLED = """
import os, signal, sys
from tests.storage.test_store_metadata import create
left, real = int(sys.argv[2]), os.replace
def replace(*names):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*names)
os.replace = replace
create(sys.argv[1])
"""


@pytest.mark.parametrize("point", [1, len(DOCUMENTS)])
def test_a_store_whose_making_was_killed_is_made_again(tmp_path, point):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(point)], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(NoStoreError):
        ActivationStore.open(tmp_path)
    assert create(tmp_path).sites == list(SHAPES)


def test_a_store_made_before_there_were_versions_is_read_on(tmp_path):
    """As the first release made it: zstd, no version, the attributes written after the arrays."""
    group = zarr.open_group(tmp_path / "activations.zarr", mode="a", zarr_format=3)
    data = {
        site: np.random.default_rng(1).normal(size=(11, *shape)).astype(np.float16) for site, shape in SHAPES.items()
    }
    for (block, t, conditioning), shape in SHAPES.items():
        array = group.create_array(
            f"{block}/{t:.2f}/{conditioning}",
            shape=(11, *shape),
            dtype="float16",
            chunks=(4, *shape),
            shards=(4, *shape),
            compressors=[ZstdCodec(level=1), Crc32cCodec()],
            dimension_names=("prompt", "row", "column", "channel"),
            fill_value=0.0,
            config={"write_empty_chunks": True},
        )
        array[:] = data[block, t, conditioning]
    sites = [[b, t, c, list(shape)] for (b, t, c), shape in SHAPES.items()]
    group.attrs.update({"n_prompts": 11, "shard_size": 4, "sites": sites})
    zarr.consolidate_metadata(tmp_path / "activations.zarr")
    assert create(tmp_path).facts == FACTS and compression_of(tmp_path, FACTS) == "zstd"
    before = data_of(tmp_path, "/c/")
    ActivationStore.open(tmp_path).write_shard(MID, 2, data[MID][8:])
    rewrite_metadata(tmp_path, FACTS)
    store = ActivationStore.open(tmp_path)
    assert all(np.array_equal(store.read(site, 0, 11), data[site]) for site in SHAPES)
    assert data_of(tmp_path, "/c/") == before


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_how_shards_are_compressed_is_told_from_them(tmp_path, compression):
    assert compression_of(tmp_path, FACTS) is None
    store, data = filled(tmp_path, compression)
    assert compression_of(tmp_path, FACTS) == compression
    store.shard_file(MID, 0).write_bytes(b"cut short")
    assert compression_of(tmp_path, FACTS) == compression
    shutil.rmtree(store.path / "mid" / "0.50" / "cond" / "c" / "0")
    for name in DOCUMENTS:
        (store.path / name).unlink()
    rewrite_metadata(tmp_path, FACTS)
    assert np.array_equal(ActivationStore.open(tmp_path).read(UP, 0, 11), data[UP])
