"""What each picture of ``figures/`` shows, from the tables: it can be queried."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from concepts.effect_table import ALL, NEW
from concepts.effects import region_mask
from concepts.layout import first_images
from concepts.layout_rows import ALL_LABELS
from concepts.pictured import best_of_each_label, pictured_edits
from concepts.scan import example_map
from figures import damage, draw, pictures
from storage.declaring import SITE_KEY
from storage.images import decode_png
from storage.tables import read_table
from study.at import Dictionary
from study.located import block_shown
from study.paths import split_ids, split_ranges
from study.reading import images_of, label_masks, prompts_of
from study.saes import SHARED, TRAINED
from study.study import Study
from tasks.layout import Predictor

COLUMNS, CARDS = 8, 10
FOLLOWED, FOLLOWED_IMAGES = 6, 3  # concepts followed through time, and images of each


class NothingToShow(Exception):
    """A figure's tables hold nothing for it; the message says what they lack."""


def _images(study: Study, path: Path) -> None:
    start, stop = split_ranges(study, "dictionary")[0]
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
    if not items:
        raise NothingToShow("the dictionary split has no image")
    pictures.images_and_masks(items, path)


def _variance(study: Study, path: Path) -> None:
    sae = study.config.sae
    filters = [("expansion", "==", sae.expansion[0]), ("seed", "==", study.config.seed)]
    rows = read_table(study.root, "sae_metrics", filters=filters).to_pylist()
    if not rows:
        raise NothingToShow("no SAE of the study's first expansion and seed was evaluated")
    draw.explained_variance(rows, path)


def _learning(study: Study, path: Path) -> None:
    """Curves of the dictionaries of the first k, means over the conditionings; stability is that of the next seed."""
    sae, seed = study.config.sae, study.config.seed
    filters = [("kind", "==", TRAINED), ("expansion", "==", sae.expansion[0]), ("k", "==", sae.k[0])]
    rows = read_table(study.root, "sae_curves", filters=filters).to_pylist()
    if not rows:
        raise NothingToShow("no learning curve of the study's first k and expansion was measured")
    draw.learning_curves(mean_curves(rows, seed), path)


def mean_curves(rows: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """A row for each (block, t, share of the steps), from rows of ``sae_curves``: means over all else.

    The dictionary's own figures are of the study's ``seed``; ``stability``, which the further seeds carry, is theirs,
    and None where there is none.
    """
    last: dict[str, int] = {}
    for row in rows:
        last[row["block"]] = max(last.get(row["block"], 0), row["step"])
    found: dict[tuple[str, float, float], dict[str, list[float]]] = {}
    for row in rows:
        at = found.setdefault((row["block"], row["t"], row["step"] / last[row["block"]]), {})
        for name in draw.CURVES:
            if (row["seed"] == seed) != (name == "stability") and row[name] is not None:
                at.setdefault(name, []).append(row[name])
    return [
        {"block": block, "t": t, "share": share}
        | {name: float(np.mean(values[name])) if name in values else None for name in draw.CURVES}
        for (block, t, share), values in found.items()
    ]


def _cards(study: Study, path: Path) -> None:
    """The best concept of each label, over all cond sites at the last timestep; the labels that are carried best.

    Best on the selection half: the held-out IoU that a title reports must have chosen nothing.
    """
    filters = [("kind", "==", "trained"), ("assigned", "==", True), ("conditioning", "==", "cond")]
    filters += [("t", "==", min(study.config.sites.times))]
    carried = best_of_each_label(read_table(study.root, "concept_labels", filters=filters).to_pylist())
    cards = [card for card in (_card(study, row) for row in carried[:CARDS]) if card["examples"]]
    if not cards:
        raise NothingToShow("no concept of a cond site carries a label at the last time")
    pictures.concept_cards(cards, path, _deciles(study))


def _deciles(study: Study) -> list[str]:
    """Names of the columns of ``concept_cards``: parts of a concept's images, strongest first."""
    bins = study.config.labels.bins
    return ["strongest", *(f"{100 * i // bins} to {100 * (i + 1) // bins} %" for i in range(1, bins))]


def _card(study: Study, row: dict[str, Any]) -> dict[str, Any]:
    """The strongest image of each quantile bin of the concept's activation, strongest first."""
    filters = [(name, "==", row[name]) for name in (*SITE_KEY, "cid")] + [("rank", "==", 0)]
    examples = []
    for example in read_table(study.root, "concept_examples", filters=filters).to_pylist()[:COLUMNS]:
        heat = example_map(example)
        prompt_id = example["prompt_id"]
        examples.append((images_of(study, prompt_id, prompt_id + 1)[prompt_id], heat))
    heldout = {"held-out IoU": row["iou_heldout"], "precision": row["precision_heldout"]}
    measured = "".join(f", {name} {value:.2f}" for name, value in heldout.items() if value is not None)
    title = f"{row['label']}: {row['block']} t={row['t']:.2f}, CID {row['cid']}{measured}"
    return {"title": title, "examples": examples}


def _through_time(study: Study, path: Path) -> None:
    """Shared concepts of the spatially edited block at every time: of each label the one that is best at the end."""
    if not study.config.sae.across_time:
        raise NothingToShow("no SAE serves all times: sae.across_time is off")
    block, k = block_shown(study), study.config.sae.k[0]
    times = sorted(study.config.sites.times, reverse=True)
    filters = [("kind", "==", SHARED), ("block", "==", block), ("conditioning", "==", "cond"), ("k", "==", k)]
    labels = read_table(study.root, "concept_labels", filters=filters)
    at_the_end = pc.and_(pc.equal(labels["t"], times[-1]), labels["assigned"])
    chosen = best_of_each_label(labels.filter(at_the_end).to_pylist())[:FOLLOWED]
    if not chosen:
        raise NothingToShow(f"no concept of all times carries a label at block {block} at the last time")
    maps = shared_maps(study, block, k, [row["cid"] for row in chosen])
    items = [_followed(study, row, labels.to_pylist(), times, maps[row["cid"]]) for row in chosen]
    pictures.concepts_through_time(items, path)


def _followed(
    study: Study, row: dict[str, Any], labels: list[dict[str, Any]], times: list[float], maps: dict[float, np.ndarray]
) -> dict[str, Any]:
    """A concept's IoU with its label at each time, and its maps on the images where it is strongest at the end."""
    strongest = np.argsort(-maps[times[-1]].max((1, 2)), kind="stable")[:FOLLOWED_IMAGES]
    ids = split_ids(study, "dictionary")
    examples = []
    for index in strongest:
        prompt_id = ids[int(index)]
        image = images_of(study, prompt_id, prompt_id + 1)[prompt_id]
        examples.append((image, {t: maps[t][index] for t in times}))
    same = [r for r in labels if (r["cid"], r["label"]) == (row["cid"], row["label"])]
    iou = {r["t"]: r["iou_heldout"] or 0.0 for r in same}
    title = f"{row['label']}: {row['block']}, CID {row['cid']} of the SAE shared by all times"
    return {"title": title, "times": times, "examples": examples, "iou": iou}


def shared_maps(study: Study, block: str, k: int, cids: list[int]) -> dict[int, dict[float, np.ndarray]]:
    """Maps of a few shared concepts over the dictionary split: cid -> t -> float32 [images, rows, columns].

    A concept may be named twice, as the best one of two labels.
    """
    maps: dict[int, dict[float, np.ndarray]] = {cid: {} for cid in cids}
    for t in study.config.sites.times:
        here = study.at((block, t, "cond"), k)
        parts: dict[int, list[np.ndarray]] = {cid: [] for cid in maps}
        for _ids, values, latents in here.codes(here.sae(SHARED), "dictionary"):
            for cid in maps:
                parts[cid].append(np.where(latents == cid, values, 0.0).sum(-1).reshape(-1, *here.grid))
        for cid in maps:
            maps[cid][t] = np.concatenate(parts[cid])
    return maps


def _layout_scores(study: Study, path: Path) -> None:
    filters = [("kind", "==", TRAINED), ("label", "==", ALL_LABELS), ("k", "==", study.config.sae.k[0])]
    rows = read_table(study.root, "layout_scores", filters=filters).to_pylist()
    if not rows:
        raise NothingToShow("no label is in enough images of the layout split to be scored")
    blocks, halves = list(study.config.sites.blocks), study.config.sites.conditionings
    rows.sort(key=lambda r: (halves.index(r["conditioning"]), blocks.index(r["block"])))
    draw.layout_scores(rows, path)


def _layouts(study: Study, path: Path) -> None:
    """Predictions of the spatially edited block at every timestep for the first layout image of each label."""
    k, block = study.config.sae.k[0], block_shown(study)
    if "cond" not in study.config.sites.conditionings:
        raise NothingToShow("no cond site is recorded")
    items: dict[str, dict[str, Any]] = {}
    for t in study.config.sites.times:
        here = study.at((block, t, "cond"), k)
        thresholds = _thresholds(here)
        for label, (first,) in first_images(Predictor(here).scored("layout"), 1).items():
            if label not in thresholds:
                continue
            prompt_id = first.prompt_id
            if label not in items:
                image = images_of(study, prompt_id, prompt_id + 1)[prompt_id]
                truth = label_masks(study, prompt_id, prompt_id + 1)[prompt_id][label]
                items[label] = {"image": image, "label": label, "truth": truth, "predictions": {}}
            items[label]["predictions"][t] = (first.evidence_C >= thresholds[label]).reshape(here.grid)
    kept = [item for item in items.values() if len(item["predictions"]) == len(study.config.sites.times)]
    if not kept:
        raise NothingToShow(f"no label's layout is predicted at every time of block {block}")
    pictures.layouts(kept[:10], path)


def _thresholds(here: Dictionary) -> dict[str, float]:
    filters = [*here.filters, ("kind", "==", TRAINED), ("method", "==", "evidence"), ("label", "!=", ALL_LABELS)]
    rows = read_table(here.study.root, "layout_scores", filters=filters).to_pylist()
    return {row["label"]: row["threshold"] for row in rows if row["threshold"] is not None}


def _effects(study: Study, path: Path) -> None:
    """Of the cases that the unedited image does not fulfil: of all, a share would succeed without an edit."""
    filters = [("target", "==", ALL), ("cases", "==", NEW)]
    rows = read_table(study.root, "intervention_effects", filters=filters).to_pylist()
    windows = list(study.config.interventions.windows)
    if not rows:
        raise NothingToShow("no edit was made")
    draw.intervention_effects(rows, windows, path)


def _damage(study: Study, path: Path) -> None:
    """Of the cases that the unedited image does not fulfil, all targets together: what success has cost."""
    filters = [("target", "==", ALL), ("cases", "==", NEW)]
    rows = read_table(study.root, "intervention_effects", filters=filters).to_pylist()
    rows = [row for row in rows if any(row[name] is not None for name in damage.MEASURES)]
    if not rows:
        raise NothingToShow("no edit was made, or what it costs was not measured (interventions.damage)")
    damage.edit_damage(rows, list(study.config.interventions.windows), path)


def _interventions(study: Study, path: Path) -> None:
    """A case of each target, picked before any success is known."""
    rows = read_table(study.root, "interventions").to_pylist()
    pairs = pictured_edits(rows, list(study.config.interventions.windows))
    if not pairs:
        raise NothingToShow("no edit that the image before lacks, and its control, are kept in the windows shown")
    pictures.interventions([_case(study, *pair) for pair in pairs[:COLUMNS]], path)


def _case(study: Study, edited: dict[str, Any], control: dict[str, Any]) -> dict[str, Any]:
    before = images_of(study, edited["prompt_id"], edited["prompt_id"] + 1)[edited["prompt_id"]]
    region = None if edited["kind"] == "global" else region_mask(edited["region"], *before.shape[:2])
    return {
        "title": f"{edited['target']}, {edited['window']}\n{edited['region'].replace('_', ' ')}",
        "before": before,
        "edited": decode_png(edited["image"]),
        "control": decode_png(control["image"]),
        "region": region,
    }


FIGURES: dict[str, Callable[[Study, Path], None]] = {
    "images_and_masks": _images,
    "explained_variance": _variance,
    "learning_curves": _learning,
    "concept_cards": _cards,
    "concepts_through_time": _through_time,
    "layout_scores": _layout_scores,
    "layouts": _layouts,
    "interventions": _interventions,
    "intervention_effects": _effects,
    "edit_damage": _damage,
}
