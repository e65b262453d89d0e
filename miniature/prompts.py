"""World captions in LAION-COCO's own columns: ``python -m miniature.prompts --rows 6000 --out FILE``.

Some rows are there to be refused: null captions, unsafe scores and repeats, as in the real files.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from miniature.world import make_scene

FIRST_SCENE = 30_000_000  # none of these was trained on
SCHEMA = pa.schema(
    [
        ("URL", pa.string()),
        ("TEXT", pa.string()),
        ("top_caption", pa.string()),
        ("all_captions", pa.list_(pa.string())),
        ("all_similarities", pa.list_(pa.float64())),
        ("WIDTH", pa.int64()),
        ("HEIGHT", pa.int64()),
        ("similarity", pa.float64()),
        ("hash", pa.int64()),
        ("pwatermark", pa.float64()),
        ("punsafe", pa.float64()),
    ]
)


def rows(count: int, seed: int) -> pa.Table:
    """``count`` rows; about one in a hundred lacks its caption and one in a hundred is marked unsafe."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        caption: str | None = make_scene(FIRST_SCENE + seed * 1_000_000 + i).caption
        similarity = float(rng.uniform(0.25, 0.4))
        fate = rng.random()
        found.append(
            {
                "URL": f"https://example.invalid/scene/{seed}/{i}.png",
                "TEXT": f"scene {i}",
                "top_caption": None if fate < 0.01 else caption,
                "all_captions": [caption],
                "all_similarities": [similarity],
                "WIDTH": 64,
                "HEIGHT": 64,
                "similarity": similarity,
                "hash": int(rng.integers(-(2**62), 2**62)),
                "pwatermark": float(rng.uniform(0, 0.1)),
                "punsafe": float(rng.uniform(0.5, 1)) if fate > 0.99 else float(rng.uniform(0, 0.05)),
            }
        )
    return pa.Table.from_pylist(found, schema=SCHEMA)


def main(arguments: list[str] | None = None) -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("miniature/captions.parquet"))
    options = parser.parse_args(arguments)
    pq.write_table(rows(options.rows, options.seed), options.out, compression="zstd", row_group_size=1000)


if __name__ == "__main__":
    main()
