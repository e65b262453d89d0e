"""The activation store: one sharded, checksummed Zarr v3 array per site, written a shard at a time.

Layout: ``activations.zarr/<block>/<t>/<conditioning>``, float16 [prompt, row, column, channel]. A Zarr shard holds
``shard_size`` prompts, so one task writes whole shard objects and two tasks never touch the same object.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from storage.errors import StorageError, write_errors_named

Site = tuple[str, float, str]
CHUNK_BYTES = 2 << 20  # an inner chunk of about 2 MiB: small enough to read a few prompts, large enough to compress
DIMENSIONS = ("prompt", "row", "column", "channel")


def site_key(site: Site) -> str:
    """``block/t/conditioning``, t with two decimals."""
    block, t, conditioning = site
    return f"{block}/{t:.2f}/{conditioning}"


class ActivationStore:
    """Residual updates of every prompt at every site.

    Attributes: ``sites`` (in order), ``n_prompts``, ``shard_size``, ``n_shards``.
    """

    def __init__(self, path: Path, group: zarr.Group) -> None:
        self.path, self._group = path, group
        facts: Any = dict(group.attrs)
        self.n_prompts, self.shard_size = int(facts["n_prompts"]), int(facts["shard_size"])
        self._shapes = {(b, float(t), c): tuple(shape) for b, t, c, shape in facts["sites"]}
        self.sites: list[Site] = list(self._shapes)
        self.n_shards = -(-self.n_prompts // self.shard_size)

    @classmethod
    def create(
        cls, root: str | Path, shapes: dict[Site, tuple[int, int, int]], n_prompts: int, shard_size: int
    ) -> ActivationStore:
        """Create the store, or open it if it is there with the same shapes; ``StorageError`` if they differ."""
        path = store_path(root)
        facts: dict[str, Any] = {
            "n_prompts": n_prompts,
            "shard_size": shard_size,
            "sites": [[b, t, c, list(shape)] for (b, t, c), shape in shapes.items()],
        }
        if (path / "zarr.json").exists():
            store = cls.open(root)
            if dict(store._group.attrs) != facts:
                raise StorageError(f"{path} was made for other sites or prompts: use another --root or delete it")
            return store
        with write_errors_named(path):
            group = zarr.open_group(path, mode="a", zarr_format=3)
            for site, shape in shapes.items():
                _create_array(group, site, shape, n_prompts, shard_size)
            # The attributes come last: they are what makes the store exist for `open`.
            group.attrs.update(facts)
            with warnings.catch_warnings():
                # Zarr 3 reads its own consolidated metadata; the warning is about other implementations.
                warnings.simplefilter("ignore")
                zarr.consolidate_metadata(path)
        return cls.open(root)

    @classmethod
    def open(cls, root: str | Path) -> ActivationStore:
        """Open an existing store. Raises ``FileNotFoundError`` if there is none (or only a half-made one)."""
        path = store_path(root)
        if not (path / "zarr.json").exists():
            raise FileNotFoundError(f"no activation store at {path}")
        group = zarr.open_group(path, mode="r+", zarr_format=3)
        if "sites" not in group.attrs:
            raise FileNotFoundError(f"the activation store at {path} was never finished being created")
        return cls(path, group)

    def shape(self, site: Site) -> tuple[int, int, int]:
        """(rows, columns, channels) of a site. Raises ``StorageError`` for a site the store does not have."""
        if site not in self._shapes:
            known = ", ".join(site_key(s) for s in self.sites)
            raise StorageError(f"{self.path} has no site {site_key(site)}: it has {known}")
        height, width, channels = self._shapes[site]
        return height, width, channels

    def shard_range(self, shard: int) -> tuple[int, int]:
        """[start, stop) of the prompt ids of a shard; the last one may be short."""
        start = shard * self.shard_size
        return start, min(start + self.shard_size, self.n_prompts)

    def write_shard(self, site: Site, shard: int, array: np.ndarray) -> None:
        """Write float16 [n, H, W, C], all prompts of the shard at once.

        Raises ``StorageError`` on another shape or on a value that is not finite (naming site and prompt).
        """
        start, stop = self.shard_range(shard)
        expected = (stop - start, *self.shape(site))
        if array.shape != expected:
            raise StorageError(f"shard {shard} of {site_key(site)} must have shape {expected}, got {array.shape}")
        finite = np.isfinite(array).reshape(len(array), -1).all(1)
        if not finite.all():
            raise StorageError(
                f"activations at {site_key(site)} are not finite for prompt {start + int(np.argmin(finite))}: "
                "float16 overflows beyond 65504; check the model's dtype"
            )
        with write_errors_named(self.path):
            self._array(site)[start:stop] = array.astype(np.float16)

    def read(self, site: Site, start: int, stop: int) -> np.ndarray:
        """float16 [stop - start, H, W, C]. A damaged chunk raises ``StorageError`` naming the site and prompts."""
        array = self._array(site)
        try:
            return np.asarray(array[start:stop])
        except (ValueError, RuntimeError, OSError) as error:
            raise StorageError(
                f"{self.path}/{site_key(site)} is damaged in prompts {start} to {stop}: run `concepts verify`"
            ) from error

    def checksum(self, site: Site, shard: int) -> str:
        """SHA-256 of the stored shard object. Raises ``FileNotFoundError`` if it was never written."""
        return hashlib.sha256(self.shard_file(site, shard).read_bytes()).hexdigest()

    def shard_file(self, site: Site, shard: int) -> Path:
        """The file of one shard object."""
        return self.path / site_key(site) / "c" / str(shard) / "0" / "0" / "0"

    def _array(self, site: Site) -> Any:
        self.shape(site)
        return self._group[site_key(site)]


def store_path(root: str | Path) -> Path:
    """Folder of the store inside a study folder."""
    return Path(root) / "activations.zarr"


def _create_array(group: zarr.Group, site: Site, shape: tuple[int, int, int], n_prompts: int, shard_size: int) -> None:
    per_prompt = 2 * int(np.prod(shape))
    # The inner chunk has to divide the shard.
    wanted = max(1, min(shard_size, CHUNK_BYTES // per_prompt))
    prompts_per_chunk = max(n for n in range(1, wanted + 1) if shard_size % n == 0)
    group.create_array(
        site_key(site),
        shape=(n_prompts, *shape),
        dtype="float16",
        chunks=(prompts_per_chunk, *shape),
        shards=(shard_size, *shape),
        compressors=[ZstdCodec(level=1), Crc32cCodec()],
        dimension_names=DIMENSIONS,
        fill_value=0.0,
        config={"write_empty_chunks": True},
        overwrite=True,
    )
