"""A study filled by hand, whose captions, labels and blocks are as hostile as they may be, and its pages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from explorer.app import application
from explorer.source import Source
from storage.declared_beside import EDITS, write_row
from storage.images import encode_png
from storage.schemas import SCHEMAS
from storage.vouch import digest_of_bytes
from study.config import load_config
from tests.parts import add_part, label_row, open_study
from tests.paths import ROOT

SCRIPT = "<script>alert('1')</script> & \"tree\""
SITE = {"block": "mid", "conditioning": "cond", "k": 4}
GRID = [2, 2]
LAYOUT = 8  # an image of the layout split
SETTINGS = (
    "sites.blocks={mid: mid_block.attentions.0}",
    "sites.times=[1.0, 0.5]",
    "prompts.splits={dictionary: 8, layout: 8, train: 8, style: 8}",  # shards of eight, the first two segmented
    "interventions.windows={early: [0.6, 1.0, 1.0], late: [0.0, 0.6, 0.5]}",
)


BENCHED = [  # method, t, CID, F1 that chose, F1 and its interval
    ("trained", 1.0, 0, 0.81, 0.7123456, 0.70, 0.74),
    ("trained", 0.5, 1, 0.80, 0.9, 0.89, 0.91),
    ("untrained", 0.5, 1, 0.50, 0.5123456, 0.48, 0.55),
    ("probe", 1.0, 0, 0.95, 0.9512345, 0.93, 0.97),
    ("neurons", 1.0, 3, 0.70, 0.7012345, 0.66, 0.75),
    ("mine", 1.0, 2, 0.60, 0.6, 0.58, 0.62),
]


def row(table: str, **given: Any) -> dict[str, Any]:
    """A row with nothing in it but what is given."""
    return {field.name: given.get(field.name, _empty(field)) for field in SCHEMAS[table]}


def _empty(field: pa.Field) -> Any:
    if field.nullable:
        return None
    kinds = ((pa.types.is_string, ""), (pa.types.is_boolean, False), (pa.types.is_binary, b""), (pa.types.is_list, []))
    return next((value for is_kind, value in kinds if is_kind(field.type)), 0)


def kept(root, name, **given):
    """Write an edit beside a study, as `concepts edit` does."""
    folder = root.with_name(f"{root.name}-edits")
    pictures = {
        p: encode_png(np.full((8, 8, 3), 20 * n, np.uint8)) for n, p in enumerate(("before", "after", "control"))
    }
    (folder / name).mkdir(parents=True)
    for picture, data in pictures.items():
        (folder / name / f"{picture}.png").write_bytes(data)
    row = {field.name: given.get(field.name, _empty(field)) for field in EDITS.schema}
    row |= {"edit": name} | {f"{picture}_sha256": digest_of_bytes(data) for picture, data in pictures.items()}
    write_row(folder / "edits" / f"{name}.parquet", EDITS, row)
    return folder


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """Two images, two concepts at each of two times, every table that a page shows."""
    folder = tmp_path_factory.mktemp("explored") / "study"
    open_study(folder, load_config(ROOT / "configs" / "tiny.yaml", SETTINGS).model_dump(mode="json"), {})
    fill_images(folder)
    fill_concepts(folder)
    fill_results(folder)
    return folder


def fill_images(folder):
    captions = {0: SCRIPT, 1: "a boat on the water", LAYOUT: "a bush"}
    prompts = [
        row("prompts", prompt_id=i, caption=caption, split="layout" if i == LAYOUT else "dictionary")
        for i, caption in captions.items()
    ]
    add_part(folder, "prompts", "000000", prompts)
    picture = np.full((8, 8, 3), 90, np.uint8)
    images = [row("images", prompt_id=i, image=encode_png(picture), width=8, height=8) for i in captions]
    add_part(folder, "images", "000000", images[:2])
    add_part(folder, "images", "000001", images[2:])
    # Columns first: 32 pixels outside, then the right half; the other label begins with pixels inside.
    counts = {"tree": [32, 32], SCRIPT: [0, 8, 56]}
    segments = [segment(0, n, label, runs) for n, (label, runs) in enumerate(counts.items())]
    add_part(folder, "segments", "000000", segments)
    add_part(
        folder, "segments", "000001", [segment(LAYOUT, 0, "tree", [0, 2, 62])]
    )  # of the first column the two upper


def segment(prompt_id, number, label, runs):
    """A mask of 8 x 8 pixels, as COCO's runs."""
    mask = {"box": [0, 0, 8, 8], "rle_counts": runs, "rle_size": [8, 8]}
    return row("segments", prompt_id=prompt_id, segment_id=number, label=label, **mask)


def fill_concepts(folder):
    for t in (1.0, 0.5):
        site = {**SITE, "t": t}
        unit = f"mid-{t:.2f}-cond-k4"
        concepts = [
            row("concepts", **site, cid=cid, alive=True, density=0.123456789 / (cid + 1), act_max=2.5, n_images=2)
            | {"top_label": "tree" if cid == 0 else None}
            for cid in range(2)
        ]
        add_part(folder, "concepts", unit, concepts)
        labels = [
            label_row(0, 0.41 + t / 100, t=t, iou_heldout=0.345678901 + t / 10, iou=0.3765432),
            label_row(1, 0.2, t=t, label=SCRIPT, assigned=False, iou_heldout=None, iou_heldout_se=None),
            label_row(0, 0.1, t=t, kind="untrained", iou_heldout=0.0987654321, assigned=False),
        ]
        add_part(folder, "concept_labels", unit, labels)
        examples = [
            row("concept_examples", **site, cid=0, bin=0, rank=0, prompt_id=0, act_max=np.float32(1.7), grid=GRID)
            | {"map_indices": [1, 2], "map_values": [np.float32(0.3), np.float32(1.7)]}
        ]
        add_part(folder, "concept_examples", unit, examples)
    fill_activity(folder)
    fill_matches(folder)


def fill_activity(folder):
    """Of t = 0.5 alone: the dictionary of t = 1 was labelled before activations were counted."""
    counts = {0: [0, 1500, 3, *[0] * 16, 1], 1: [0] * 19 + [7]}
    together = {"coactivation": [0.0712345], "coactivation_shuffled": [0.0198765], "n_both": [5]}
    rows = [
        row("concept_activity", **SITE, t=0.5, cid=cid, histogram=histogram, coactive=[1 - cid], **together)
        for cid, histogram in counts.items()
    ]
    add_part(folder, "concept_activity", "mid-0.50-cond-k4", rows)


def fill_matches(folder):
    given = {"t_from": 1.0, "t_to": 0.5, "kind": "trained", "cosine": 0.4321987, "coactivation": 0.2109876}
    control = {"cosine_other_seed": 0.1357924, "coactivation_other_seed": 0.0246813, "mutual_other_seed": False}
    rows = [
        row("concept_matches", **SITE, **given, **control, cid_from=cid_from, cid_to=cid_to, chosen_by=measure)
        | {"mutual": mutual}
        for measure in ("cosine", "coactivation")
        for cid_from, cid_to, mutual in ((0, 1, False), (1, 1, True))
    ]
    add_part(folder, "concept_matches", "mid-cond-k4", rows)


def fill_results(folder):
    sites = [{**SITE, "t": t} for t in (1.0, 0.5)]
    metrics = [
        row("sae_metrics", **site, expansion=4, seed=seed, kind=kind, explained_variance=value + seed / 100 + site["t"])
        | {"density_histogram": [1]}
        for site in sites
        for kind, seed, value in (("trained", 0, 0.7123456), ("trained", 1, 0.7123456), ("untrained", 0, 0.2123456))
    ]
    add_part(folder, "sae_metrics", "all", metrics)
    controls = [
        row("label_controls", **site, kind=kind, n_labels=n, label_iou=n / 37)
        for site in sites
        for kind, n in (("trained", 9), ("untrained", 4), ("shuffled_positions", 1))
    ]
    add_part(folder, "label_controls", "all", controls)
    layouts = [
        row("layout_scores", **site, kind="trained", label=label, method=method, iou=iou, iou_ci_low=iou - 0.01)
        | {"iou_ci_high": iou + 0.02}
        for site in sites
        for label in ("*", "tree")
        for method, iou in (("posterior", 0.5432198), ("position", 0.4321098), ("noise", 0.4))
    ]
    learnt = [
        row(
            "layout_scores",
            **{**SITE, "t": t},
            kind="trained",
            label="tree",
            method="evidence",
            iou=0.45,
            threshold=0.3,
        )
        for t in (1.0, 0.5)
    ]
    add_part(folder, "layout_scores", "all", layouts + learnt)
    benched = [
        row("bench", **{**SITE, "t": t}, method=method, scope="image", kind="object", label="tree", cid=cid)
        | {"f1_chosen": chosen, "f1": f1, "f1_ci_low": low, "f1_ci_high": high}
        for method, t, cid, chosen, f1, low, high in BENCHED
    ]
    add_part(folder, "bench", "1.00-cond", benched)
    effects = [
        row("intervention_effects", kind="spatial", window=window, control=control, target=target, cases="new")
        | {"success": success, "success_ci_low": success / 2, "success_ci_high": None}
        for target in ("*", "tree")
        for window, control, success in (("late", "none", 0.1234567), ("early", "none", 0.7654321),
                                         ("early", "random_direction", 0.0765432))
    ]  # fmt: skip
    add_part(folder, "intervention_effects", "all", effects)
    made = {"prompt_id": 0, "kind": "spatial", "target": "tree", "strength": 6.0, "region": "top_left"}
    edits = [
        row("interventions", **made, control=control, window=window, t=t, success=success)
        | {"image": encode_png(np.full((8, 8, 3), value, np.uint8))}
        for window, t, control, success, value in (
            ("late", 0.5, "none", False, 10),
            ("early", 1.0, "none", True, 20),
            ("early", 1.0, "random_direction", False, 30),
            ("early", 1.0, "neurons", False, 40),
        )
    ]
    add_part(folder, "interventions", "all", edits)


@pytest.fixture(scope="session")
def source(root):
    return Source(root)


@pytest.fixture(scope="session")
def client(source):
    return TestClient(application(source), base_url="http://127.0.0.1:8600", follow_redirects=False)
