"""What the world knows about its scenes, as one Parquet file: ``python -m miniature.truth --scenes 1200 --out FILE``.

One row a scene. ``objects`` says what was drawn and where; ``labels`` is the form that ``concepts bench`` reads: a
name, its kind, and the mask of what is to be seen of it (COCO's run lengths; null where a label is of the whole image).
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from miniature.settings import GROUNDS, OBJECTS, World, WorldError, default_world, load_world
from miniature.world import PARENTS, Scene, make_scene
from vision.rle import encode

FIRST_SCENE = 50_000_000  # no model or judge was trained on these
MIN_PX = 16  # less than one cell of a 16 x 16 grid is nothing that a map could show
COLOURLESS = ("sketch", "sepia")  # looks in which no colour is to be seen
_OBJECT = pa.struct(
    [
        ("label", pa.string()),
        ("parent", pa.string()),
        ("colour", pa.string()),
        ("x", pa.float32()),  # centre, pixels
        ("y", pa.float32()),
        ("size", pa.float32()),  # height, pixels
        ("whole_px", pa.int32()),  # pixels it would show with nothing in front
        ("visible_px", pa.int32()),
    ]
)
_LABEL = pa.struct(
    [
        ("label", pa.string()),
        ("kind", pa.string()),  # object, ground, sky, look, parent or colour
        ("rle_counts", pa.list_(pa.int32())),
        ("rle_size", pa.list_(pa.int32())),
    ]
)
SCHEMA = pa.schema(
    [
        ("scene_id", pa.int64()),
        ("seed", pa.int64()),
        ("caption", pa.string()),
        ("image", pa.binary()),  # PNG
        ("ground", pa.string()),
        ("style", pa.string()),
        ("sky", pa.string()),
        ("objects", pa.list_(_OBJECT)),
        ("labels", pa.list_(_LABEL)),
    ]
)


def truth_row(scene_id: int, seed: int, world: World) -> dict[str, Any]:
    """One row of the table."""
    scene, buffer = make_scene(seed, world=world), io.BytesIO()
    Image.fromarray(scene.image).save(buffer, format="PNG")
    return {
        "scene_id": scene_id,
        "seed": seed,
        "caption": scene.caption,
        "image": buffer.getvalue(),
        "ground": scene.ground,
        "style": scene.style,
        "sky": scene.sky,
        "objects": [_object(item) for item in scene.objects],
        "labels": labels_of(scene),
    }


def _object(item: Any) -> dict[str, Any]:
    return {
        "label": item.name,
        "parent": PARENTS.get(item.name),
        "colour": item.colour,
        "x": item.x,
        "y": item.y,
        "size": item.size,
        "whole_px": item.whole_px,
        "visible_px": item.visible_px,
    }


def labels_of(scene: Scene) -> list[dict[str, Any]]:
    """Every label that holds for the scene: what is drawn, its parents and colours, and the look."""
    masks: dict[tuple[str, str], np.ndarray] = {}

    def add(kind: str, label: str, mask: np.ndarray) -> None:
        masks[kind, label] = masks.get((kind, label), np.zeros_like(mask)) | mask

    colours = {item.name: item.colour for item in scene.objects}
    for label, mask in scene.masks.items():
        kind = "object" if label in OBJECTS else "ground" if label in GROUNDS else "sky"
        add(kind, label, mask)
        if kind == "object" and label in PARENTS:
            add("parent", PARENTS[label], mask)
        if colours.get(label) and scene.look not in COLOURLESS:
            add("colour", str(colours[label]), mask)
    found = [_label(kind, label, mask) for (kind, label), mask in masks.items() if mask.sum() >= MIN_PX]
    if scene.look:
        found.append({"label": scene.look, "kind": "look", "rle_counts": None, "rle_size": None})
    return found


def _label(kind: str, label: str, mask: np.ndarray) -> dict[str, Any]:
    counts, size = encode(mask)
    return {"label": label, "kind": kind, "rle_counts": counts, "rle_size": list(size)}


def write_truth(path: Path, scenes: int, world: World, first: int = FIRST_SCENE) -> None:
    """Write the table of ``scenes`` scenes, whole or not at all."""
    rows = [truth_row(i, first + i, world) for i in range(scenes)]
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(path.name + ".tmp")
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), scratch, compression="zstd")
    scratch.replace(path)


def main(arguments: list[str] | None = None) -> int:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=1200)
    parser.add_argument(
        "--first", type=int, default=FIRST_SCENE, help="seed of the first scene: others for choosing by"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/truth.parquet"))
    parser.add_argument("--world", type=Path, help="a world file; without it miniature/world.yaml")
    options = parser.parse_args(arguments)
    try:
        world = load_world(options.world) if options.world else default_world()
        write_truth(options.out, options.scenes, world, options.first)
    except WorldError as error:
        print(f"miniature.truth: {error}", file=sys.stderr)
        return 2
    print(f"{options.scenes} scenes in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
