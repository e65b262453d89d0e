"""Images, activations, dictionaries and partners for the tables of a full study, so that its pages of images are timed.

    python -m benchmarks.queries --keep DIR    # makes the tables
    python -m benchmarks.full_pictures DIR     # half a minute, 400 MB

Everything is drawn at random, of the shapes of the paper's study: PNGs of 512 x 512 pixels and some 400 kB for the 256
images of the first shard and one of every other segmented shard, activations of 16 x 16 cells and 1280 channels, and
SAEs of 5120 concepts. One shard of activations and one SAE stand for all: the others are links to the same file, which
the disk reads once, but the explorer reads, checks and encodes each. Partners and thresholds of layouts are of every
dictionary of k = 10.
"""

from __future__ import annotations

import argparse
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.queries import GRID, PIXELS, SITES, names_of, write_part
from sae.folder import CONFIG, WEIGHTS
from sae.io import save_sae
from sae.model import TopKSAE
from storage.activations import ActivationStore
from storage.images import encode_png
from storage.publish import publish_unit
from storage.site import Site
from study.opening import recorded_study
from study.paths import unit_name

CONCEPTS, CHANNELS, LABELS = 5120, 1280, 1000
PICTURES = 16  # that are different: together beyond what compression looks back over
BLOCKS, TIMES, CONDITIONINGS = ("down", "mid", "up"), (1.0, 0.5, 0.0), ("cond", "uncond")


def picture(rng: np.random.Generator) -> bytes:
    """A PNG that takes as many bytes as one of a photograph: soft shapes, and noise in the last three bits."""
    soft = np.kron(rng.integers(0, 31, (16, 16, 3)), np.ones((PIXELS // 16, PIXELS // 16, 1), int)) * 8
    return encode_png((soft + rng.integers(0, 8, (PIXELS, PIXELS, 3))).astype(np.uint8))


def images(root: Path, shards: int, size: int) -> None:
    """The first shard whole, of the others one image each: their parts are opened all the same."""
    rng = np.random.default_rng(0)
    drawn = np.array([picture(rng) for _ in range(PICTURES)], object)
    for shard in range(shards):
        ids = np.arange(size if shard == 0 else 1) + shard * size
        columns: dict[str, Any] = {
            "prompt_id": ids,
            "image": drawn[ids % PICTURES],
            "width": PIXELS,
            "height": PIXELS,
        }
        write_part(root, "images", f"{shard:06d}", columns)


def activations(root: Path, prompts: int, size: int, shards: int) -> None:
    """One shard of numbers, linked to as every other segmented shard of every site."""
    sites = [Site(*place) for place in itertools.product(BLOCKS, TIMES, CONDITIONINGS)]
    store = ActivationStore.create(root, dict.fromkeys(sites, (GRID, GRID, CHANNELS)), prompts, size)
    drawn = np.random.default_rng(0).normal(size=(size, GRID, GRID, CHANNELS))
    store.write_shard(sites[0], 0, drawn.astype(np.float16))
    for site, shard in itertools.product(sites, range(shards)):
        linked(store.shard_file(sites[0], 0), store.shard_file(site, shard))


def dictionaries(root: Path) -> None:
    """An SAE of random numbers for each k, linked to from every site, with the records that vouch for it."""
    torch.manual_seed(0)
    for k in (10, 20):
        sae = TopKSAE(CHANNELS, CONCEPTS, k)
        with torch.no_grad():
            sae.W_dec.normal_()
            sae.W_dec /= sae.W_dec.norm(dim=1, keepdim=True)
            sae.W_enc.copy_(sae.W_dec.T)
        first = root / "saes" / Site(*SITES[0][:3]).path / f"k{k}"
        save_sae(first, sae, {})
        for site in (Site(*place) for place in itertools.product(BLOCKS, TIMES, CONDITIONINGS)):
            folder = root / "saes" / site.path / f"k{k}"
            for name in (WEIGHTS, CONFIG):
                linked(first / name, folder / name)
            unit = unit_name(site, k)
            files = [folder / WEIGHTS, folder / CONFIG]
            publish_unit(root, "train", unit, {}, unit, "benchmark", files)


def linked(there: Path, here: Path) -> None:
    """A second name of a file."""
    if there != here:
        here.parent.mkdir(parents=True, exist_ok=True)
        os.link(there, here)


def partners(root: Path) -> None:
    """A partner of every concept at the next time, by both measures."""
    rng = np.random.default_rng(0)
    for block, conditioning in itertools.product(BLOCKS, CONDITIONINGS):
        for earlier, later in itertools.pairwise(TIMES):
            columns: dict[str, Any] = {
                "block": block,
                "conditioning": conditioning,
                "k": 10,
                "kind": "trained",
                "t_from": earlier,
                "t_to": later,
                "cid_from": np.tile(np.arange(CONCEPTS), 2),
                "chosen_by": np.repeat(np.array(["coactivation", "cosine"], object), CONCEPTS),
                "cid_to": np.concatenate([rng.permutation(CONCEPTS) for _ in range(2)]),
            }
            write_part(root, "concept_matches", f"{block}-{conditioning}-{earlier}", columns)


def thresholds(root: Path) -> None:
    """What `concepts layout` would have learnt of the most frequent labels."""
    labels = names_of(LABELS)
    for block, t, conditioning in itertools.product(BLOCKS, TIMES, CONDITIONINGS):
        columns: dict[str, Any] = {
            "block": block,
            "t": t,
            "conditioning": conditioning,
            "k": 10,
            "kind": "trained",
            "method": "evidence",
            "label": labels,
        }
        write_part(root, "layout_scores", f"{block}-{t}-{conditioning}", columns)


def main() -> None:
    """Add them to the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    root = parser.parse_args().root
    prompts = recorded_study(root).config.prompts
    segmented = -(-(prompts.splits["dictionary"] + prompts.splits["layout"]) // prompts.shard_size)
    images(root, segmented, prompts.shard_size)
    activations(root, sum(prompts.splits.values()), prompts.shard_size, segmented)
    dictionaries(root)
    partners(root)
    thresholds(root)


if __name__ == "__main__":
    main()
