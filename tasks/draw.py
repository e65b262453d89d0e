"""Drawing ``figures/`` from the tables alone: what a picture shows can be queried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from concepts.effects import region_mask
from figures import draw
from storage.tables import read_table
from tasks.collect import decode_png, images_of, prompts_of
from tasks.layout import ALL_LABELS, Predictor
from tasks.segment import label_masks
from tasks.study import Study, split_range, store_of

COLUMNS, CARDS = 8, 10


def draw_all(study: Study) -> list[Path]:
    """Draw every figure whose tables hold something; returns the files."""
    folder = Path(study.root) / "figures"
    drawn = [
        _images(study, folder / "images_and_masks.png"),
        _variance(study, folder / "explained_variance.png"),
        _cards(study, folder / "concept_cards.png"),
        _layout_scores(study, folder / "layout_scores.png"),
        _layouts(study, folder / "layouts.png"),
        _interventions(study, folder / "interventions.png"),
        _effects(study, folder / "intervention_effects.png"),
    ]
    return [path for path in drawn if path is not None]


def _images(study: Study, path: Path) -> Path | None:
    start, stop = split_range(study, "dictionary")
    stop = min(stop, start + COLUMNS)
    images, masks = images_of(study, start, stop), label_masks(study, start, stop)
    captions = prompts_of(study, start, stop)["caption"].to_pylist()
    # A style's mask is the whole image: it would hide under the others and only fill the legend.
    items = [
        {
            "image": images[i],
            "caption": captions[i - start],
            "masks": {label: mask for label, mask in masks.get(i, {}).items() if not mask.all()},
        }
        for i in range(start, stop)
        if i in images
    ]
    return draw.images_and_masks(items, path) if items else None


def _variance(study: Study, path: Path) -> Path | None:
    rows = read_table(study.root, "sae_metrics").to_pylist()
    return draw.explained_variance(rows, path) if rows else None


def _cards(study: Study, path: Path) -> Path | None:
    """The best concept of each label, over all cond sites at the last timestep; the labels that are carried best."""
    labels = read_table(study.root, "concept_labels").to_pylist()
    best: dict[str, dict[str, Any]] = {}
    last = min(study.config.sites.times)
    for row in labels:
        wanted = row["kind"] == "trained" and row["assigned"] and row["t"] == last and row["conditioning"] == "cond"
        if wanted and (row["iou_heldout"] or 0) > (best.get(row["label"], {}).get("iou_heldout") or 0):
            best[row["label"]] = row
    carried = sorted(best.values(), key=lambda row: (-row["iou_heldout"], row["label"]))
    cards = [_card(study, row) for row in carried[:CARDS]]
    return draw.concept_cards(cards, path) if cards else None


def _card(study: Study, row: dict[str, Any]) -> dict[str, Any]:
    filters = [(name, "==", row[name]) for name in ("block", "t", "conditioning", "k", "cid")]
    examples = []
    for example in read_table(study.root, "concept_examples", filters=filters).to_pylist()[:COLUMNS]:
        heat = np.zeros(example["grid"], np.float32)
        heat.ravel()[example["map_indices"]] = example["map_values"]
        prompt_id = example["prompt_id"]
        examples.append((images_of(study, prompt_id, prompt_id + 1)[prompt_id], heat))
    title = (
        f"{row['label']}: {row['block']} t={row['t']:.2f}, CID {row['cid']}, "
        f"held-out IoU {row['iou_heldout']:.2f}, precision {row['precision']:.2f}"
    )
    return {"title": title, "examples": examples}


def _layout_scores(study: Study, path: Path) -> Path | None:
    k = study.config.sae.k[0]
    rows = read_table(study.root, "layout_scores", filters=[("label", "==", ALL_LABELS), ("k", "==", k)]).to_pylist()
    return draw.layout_scores(rows, path) if rows else None


def _layouts(study: Study, path: Path) -> Path | None:
    """Predictions of the edited block at every timestep for the first layout image of each label."""
    k, block = study.config.sae.k[0], study.config.interventions.block
    items: dict[str, dict[str, Any]] = {}
    for t in study.config.sites.times:
        site = (block, t, "cond")
        thresholds = _thresholds(study, site, k)
        for label, found in Predictor(study, site, k).examples("layout").items():
            if label not in thresholds:
                continue
            prompt_id = found.prompt_ids[0]
            if label not in items:
                image = images_of(study, prompt_id, prompt_id + 1)[prompt_id]
                truth = label_masks(study, prompt_id, prompt_id + 1)[prompt_id][label]
                items[label] = {"image": image, "label": label, "truth": truth, "predictions": {}}
            grid = store_of(study).shape(site)[:2]
            items[label]["predictions"][t] = (found.scores["evidence"][0] >= thresholds[label]).reshape(grid)
    kept = [item for item in items.values() if len(item["predictions"]) == len(study.config.sites.times)]
    return draw.layouts(kept[:10], path) if kept else None


def _thresholds(study: Study, site: Any, k: int) -> dict[str, float]:
    block, t, conditioning = site
    filters = [("block", "==", block), ("t", "==", t), ("conditioning", "==", conditioning)]
    filters += [("k", "==", k), ("method", "==", "evidence"), ("label", "!=", ALL_LABELS)]
    rows = read_table(study.root, "layout_scores", filters=filters).to_pylist()
    return {row["label"]: row["threshold"] for row in rows}


def _effects(study: Study, path: Path) -> Path | None:
    rows = read_table(study.root, "intervention_effects").to_pylist()
    windows = list(study.config.interventions.windows)
    return draw.intervention_effects(rows, windows, path) if rows else None


def _interventions(study: Study, path: Path) -> Path | None:
    """For each target, the case at the upper quartile of effect, in the first (spatial) or second (global) window."""
    rows = read_table(study.root, "interventions").to_pylist()
    windows = list(study.config.interventions.windows)
    items = []
    for kind, window in (("spatial", windows[0]), ("global", windows[min(1, len(windows) - 1)])):
        of_kind = [r for r in rows if r["kind"] == kind and r["window"] == window]
        for target in sorted({r["target"] for r in of_kind}):
            edited = [r for r in of_kind if r["target"] == target and r["control"] == "none" and r["image"]]
            if edited:
                shown = sorted(edited, key=lambda r: r["effect"])[3 * len(edited) // 4]
                items.append(_case(study, shown, of_kind))
    return draw.interventions(items[:COLUMNS], path) if items else None


def _case(study: Study, edited: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    same = ("prompt_id", "target", "region")
    control = next(r for r in rows if r["control"] == "random_direction" and all(r[c] == edited[c] for c in same))
    before = images_of(study, edited["prompt_id"], edited["prompt_id"] + 1)[edited["prompt_id"]]
    region = None if edited["kind"] == "global" else region_mask(edited["region"], *before.shape[:2])
    return {
        "title": f"{edited['target']}, {edited['window']}\n{edited['region'].replace('_', ' ')}",
        "before": before,
        "edited": decode_png(edited["image"]),
        "control": decode_png(control["image"]),
        "region": region,
    }
