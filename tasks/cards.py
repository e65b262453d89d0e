"""A concept's card, drawn from the tables alone, and which concepts are worth one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from concepts.scan import example_map
from figures.cards import Card, LabelLine, MappedImage, concept_card, number
from storage.declaring import SITE_KEY
from storage.images import decode_png
from storage.site import Site
from storage.tables import Filters, read_table
from study.errors import StudyError
from study.paths import split_ids, unit_name
from study.pictures import put_picture
from study.saes import TRAINED
from study.study import Study
from study.units import CARD_STAGE

LABEL_LINES = 14  # a card's table; the paper's rule lists hundreds of labels of some concepts
PICKED = (*SITE_KEY, "cid", "alive", "n_images", "top_label", "context_free_score", "parent", "coverage")


class ConceptKey(NamedTuple):
    """Which concept: the arguments of ``draw_card``."""

    site: Site
    k: int
    cid: int


def draw_card(root: str | Path, site: Site, k: int, cid: int, config_hash: str = "") -> Path:
    """Draw one concept's card, with a record that vouches for it; returns the PNG, in the study's ``figures/cards/``.

    Raises as ``card_of`` does.
    """
    card = card_of(root, site, k, cid)
    name = f"{unit_name(site, k).replace('/', '-')}-cid{cid}.png"
    path = Path(root) / "figures" / "cards" / name
    put_picture(root, CARD_STAGE, path, config_hash, lambda at: concept_card(card, at))
    return path


def card_of(root: str | Path, site: Site, k: int, cid: int) -> Card:
    """What one concept's card shows.

    Reads ``concepts``, ``concept_labels``, ``concept_examples``, ``images`` and ``prompts``; ``t`` is taken as folders
    write it, to two decimals. Raises ``StudyError`` for a site or a concept that is not there, saying what is.
    """
    site = _known_site(root, site, k)
    filters = _filters(site, k)
    concept = _concept(root, site, k, cid)
    of_concept: Filters = [*filters, ("cid", "==", cid)]
    labels = read_table(root, "concept_labels", filters=[*of_concept, ("kind", "==", TRAINED)]).to_pylist()
    labels.sort(key=lambda row: (-row["assigned"], -row["iou_selection"], row["label"]))
    last_bin = pc.max(read_table(root, "concept_examples", ["bin"], filters)["bin"]).as_py()
    return Card(
        title=concept["top_label"] or "no label of its own",
        subtitle=f"block {site[0]}, t = {site[1]:.2f}, {site[2]}, k = {k}, CID {cid}",
        act_max=concept["act_max"],
        n_bins=1 if last_bin is None else last_bin + 1,
        bins=_examples(root, of_concept),
        labels=[_label_line(row) for row in labels[:LABEL_LINES]],
        more_labels=max(0, len(labels) - LABEL_LINES),
        facts=_facts(concept),
        colour=concept["colour"],
    )


def _filters(site: Site, k: int) -> Filters:
    return [*site.filters, ("k", "==", k)]


def _known_site(root: str | Path, site: Site, k: int) -> Site:
    """The labelled site of that name, its ``t`` as the tables have it."""
    labelled = read_table(root, "concepts", list(SITE_KEY), [("cid", "==", 0)]).to_pylist()
    names = {unit_name(Site(r["block"], r["t"], r["conditioning"]), r["k"]): r for r in labelled}
    row = names.get(unit_name(site, k))
    if row is None:
        there = f"there are {', '.join(names)}: name one of them" if names else "run `concepts label` first"
        raise StudyError(f"{root} has no labelled concepts at {unit_name(site, k)}; {there}")
    return Site(row["block"], row["t"], row["conditioning"])


def _concept(root: str | Path, site: Site, k: int, cid: int) -> dict[str, Any]:
    last = pc.max(read_table(root, "concepts", ["cid"], _filters(site, k))["cid"]).as_py()
    within = 0 <= cid <= last  # a number of twenty digits is none that a filter could take
    rows = read_table(root, "concepts", filters=[*_filters(site, k), ("cid", "==", cid)]).to_pylist() if within else []
    if not rows:
        raise StudyError(f"{site.path} has no concept {cid}: name one from 0 to {last}")
    return rows[0]


def _label_line(row: dict[str, Any]) -> LabelLine:
    names = ("iou_selection", "iou_heldout", "iou_heldout_se", "q_value", "assigned", "paper_assigned")
    return LabelLine(name=row["label"], **{name: row[name] for name in names})


def _examples(root: str | Path, of_concept: Filters) -> dict[int, list[MappedImage]]:
    """Quantile bin -> examples by rank."""
    rows = read_table(root, "concept_examples", filters=of_concept).to_pylist()
    ids = sorted({row["prompt_id"] for row in rows})
    wanted: Filters = [("prompt_id", "in", ids)]
    images = {r["prompt_id"]: r["image"] for r in read_table(root, "images", filters=wanted).to_pylist()} if ids else {}
    captions = read_table(root, "prompts", ["prompt_id", "caption"], wanted).to_pylist() if ids else []
    caption_of = {row["prompt_id"]: row["caption"] for row in captions}
    missing = [str(i) for i in ids if i not in images or i not in caption_of]
    if missing:
        raise StudyError(
            f"{root}: the tables 'images' and 'prompts' lack prompt {', '.join(missing[:5])}: run `concepts verify` on "
            "this folder, then collect again"
        )
    examples: dict[int, list[MappedImage]] = {}
    for row in rows:
        heat = example_map(row)
        image = _decoded(root, row["prompt_id"], images[row["prompt_id"]])
        examples.setdefault(row["bin"], []).append(MappedImage(image, heat, caption_of[row["prompt_id"]]))
    return examples


def _decoded(root: str | Path, prompt_id: int, data: bytes) -> np.ndarray:
    try:
        return decode_png(data)
    except OSError as error:
        raise StudyError(
            f"{root}: table images holds for prompt {prompt_id} bytes that are no image ({error}): run `concepts "
            "verify` on this folder, then collect again"
        ) from error


def _facts(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values of a card's list, a dash for what the concept has not."""

    def plain(name: str) -> str:
        return "–" if row[name] is None else number(row[name])

    covered = (
        "–" if row["coverage"] is None else f"{100 * row['coverage']:.0f} ± {100 * row['coverage_sd']:.0f} % of cells"
    )
    return [
        ("images where it fires", f"{row['n_images']:,}"),
        ("cells where it fires, of all", f"{100 * row['density']:.2g} %"),
        ("coverage of those images", covered),
        ("activation, mean and largest", f"{number(row['act_mean'])}, {number(row['act_max'])}"),
        ("cohesion of its labels", plain("cohesion")),
        ("broader label", row["parent"] or "–"),
        ("context-free score (1 is chance)", plain("context_free_score")),
        ("position selectivity", plain("position_selectivity")),
        ("colour selectivity", plain("colour_selectivity")),
        ("norm of the concept vector", plain("decoder_norm")),
    ]


def pick_cards(study: Study, n: int = 10) -> list[ConceptKey]:
    """``n`` concepts of the cond sites that show what there is, fewer if there are fewer.

    The concepts that carry their labels best, each of another label; and, in up to half of the places, the most
    context-free, the most global, the best labelled with a broader label, and the one without a label that fires in
    most images. Deterministic.
    """
    concepts = read_table(study.root, "concepts", list(PICKED), [("conditioning", "==", "cond"), ("alive", "==", True)])
    labelled = _best_of_each_label(study)
    special = _special(concepts, labelled, study)
    chosen = dict.fromkeys(labelled[: n - min(n // 2, len(special))])
    for candidates in special:
        picked = next((key for key in candidates if key not in chosen), None)
        if picked is not None and len(chosen) < n:
            chosen[picked] = None
    chosen.update(dict.fromkeys(labelled))
    return list(chosen)[:n]


def _best_of_each_label(study: Study) -> list[ConceptKey]:
    """The concept of highest IoU of each label, best first, on the half that the card's held-out IoU leaves alone."""
    filters = [("kind", "==", TRAINED), ("assigned", "==", True), ("conditioning", "==", "cond")]
    names = [*SITE_KEY, "cid", "label", "iou_selection"]
    rows = read_table(study.root, "concept_labels", names, filters).to_pylist()
    rows.sort(key=lambda row: -row["iou_selection"])
    best: dict[str, ConceptKey] = {}
    for row in rows:
        best.setdefault(row["label"], _key(row))
    return list(dict.fromkeys(best.values()))


def _special(concepts: pa.Table, labelled: list[ConceptKey], study: Study) -> list[Iterator[ConceptKey]]:
    """For each kind of concept besides the labelled, the candidates in order of how well they show it."""
    often = pc.greater_equal(concepts["n_images"], len(split_ids(study, "dictionary")) / 2)
    seen = pc.greater_equal(concepts["n_images"], study.config.labels.assign_images)
    rank = {key: place for place, key in enumerate(labelled)}
    broader = [
        _key(row) for row in concepts.filter(pc.is_valid(concepts["parent"])).select([*SITE_KEY, "cid"]).to_pylist()
    ]
    return [
        _ordered(concepts.filter(often), "context_free_score", "ascending"),  # whatever the image: in most
        _ordered(concepts.filter(seen), "coverage", "descending"),
        iter(sorted(broader, key=lambda key: rank.get(key, len(rank)))),
        _ordered(concepts.filter(pc.is_null(concepts["top_label"])), "n_images", "descending"),
    ]


def _ordered(concepts: pa.Table, column: str, order: str) -> Iterator[ConceptKey]:
    keys = [(column, order), *((name, "ascending") for name in (*SITE_KEY, "cid"))]
    ordered = concepts.filter(pc.is_valid(concepts[column])).sort_by(keys).select([*SITE_KEY, "cid"])
    for batch in ordered.to_batches(max_chunksize=64):
        yield from (_key(row) for row in batch.to_pylist())


def _key(row: dict[str, Any]) -> ConceptKey:
    return ConceptKey(Site(row["block"], row["t"], row["conditioning"]), row["k"], row["cid"])
