"""A concept's card from small tables, and which concepts are picked from them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from miniature.world import make_scene
from storage.images import encode_png
from study.config import load_config
from study.errors import StudyError
from study.study import Study
from tasks import cards
from tasks.cards import ConceptKey, draw_card, pick_cards
from tests.parts import add_part

SITE, K, GRID = ("mid", 0.5, "cond"), 20, (8, 8)
COLUMNS = {"block": "mid", "t": 0.5, "conditioning": "cond", "k": K}
IMAGES = 40
CONFIG = Path(__file__).parents[2] / "configs" / "tiny.yaml"


def concept(cid, **more):
    row = {
        **COLUMNS, "cid": cid, "alive": True, "density": 0.031, "act_mean": 1.23456, "act_max": 4.5, "n_images": 10,
        "top_label": None, "embedding": None, "context_free_score": 0.9, "decoder_norm": 1.0, "cohesion": None,
        "parent": None, "coverage": 0.2, "coverage_sd": 0.05, "position_selectivity": 0.1, "colour_selectivity": 0.05,
        "colour": [200.0, 120.0, 40.0], "init_cosine": 0.2, "stability": 0.6,
    }  # fmt: skip
    return row | more


def pair(cid, label, iou, **more):
    row = {
        **COLUMNS, "kind": "trained", "cid": cid, "label": label, "iou": iou, "iou_se": 0.02, "iou_selection": iou,
        "iou_heldout": iou - 0.01, "iou_heldout_se": 0.03, "iou_copresent": iou, "precision": iou,
        "precision_heldout": iou, "recall": iou, "lift": 5.0, "lift_selection": 5.0, "n_co": 9, "n_co_selection": 5,
        "n_hit50": 3, "ceiling": 0.8,
        "p_value": 1e-9, "q_value": 3e-8, "assigned": iou > 0.25, "paper_assigned": iou > 0.2,
    }  # fmt: skip
    return row | more


CONCEPTS = [
    concept(0, top_label="dog", parent="animal", cohesion=0.81),
    concept(1, alive=False, n_images=0, context_free_score=None, coverage=None, coverage_sd=None, colour=None),
    concept(2, top_label="tree"),
    concept(3, top_label="tree"),  # carries tree less well than 2
    concept(4, n_images=IMAGES, context_free_score=0.1),  # always, at the same places
    concept(5, n_images=12, coverage=0.97),  # global
    concept(6, n_images=30),  # unlabelled and frequent
    concept(7, n_images=4, coverage=1.0, context_free_score=0.0),  # in too few images to say anything
    concept(8, top_label="sky"),
]
PAIRS = [pair(0, "dog", 0.6), pair(0, "cat", 0.3), pair(2, "tree", 0.7), pair(8, "sky", 0.4)]
PAIRS += [pair(3, "tree", 0.5) | {"iou": 0.99, "iou_heldout": 0.99}]  # by luck, on the half that must choose nothing
PAIRS += [pair(0, "a label of a great many words", 0.05, q_value=1.0, iou_heldout=None, iou_heldout_se=None)]
PAIRS += [pair(5, "dog", 0.9, kind="untrained")]


def example(scene, bin_, rank, label, strength):
    """A map on the cells that the label covers."""
    mask = scene.masks.get(label, np.zeros((64, 64), bool))
    share = mask.reshape(8, 8, 8, 8).mean((1, 3)).ravel() if mask.any() else np.eye(8).ravel()
    at = np.flatnonzero(share > 0.2)
    at = at if len(at) else np.array([9])
    return {"bin": bin_, "rank": rank, "map_indices": at, "map_values": strength * np.maximum(share[at], 0.3)}


def write_tables(root, seeds=range(IMAGES)):
    scenes = [make_scene(seed, objects=("dog",)) for seed in seeds]
    rows, ids = [], iter(range(IMAGES))
    for bin_ in range(10):
        for rank in range(3):
            number = next(ids)
            row = example(scenes[number], bin_, rank, "dog", 4.5 * (1 - bin_ / 11))
            rows.append({**COLUMNS, "cid": 0, "prompt_id": number, "grid": GRID, **row})
            rows[-1]["act_max"] = float(row["map_values"].max())
    captions = [scene.caption for scene in scenes]
    captions[1] = "a very long caption that costs $5 or $10 " * 6
    add_part(root, "concepts", "a", CONCEPTS)
    add_part(root, "concept_labels", "a", PAIRS)
    add_part(root, "concept_examples", "a", rows)
    add_part(
        root, "images", "a",
        [
            {"prompt_id": i, "image": encode_png(s.image), "width": 64, "height": 64, "sha256": ""}
            for i, s in enumerate(scenes)
        ],
    )  # fmt: skip
    add_part(
        root, "prompts", "a",
        [
            {"prompt_id": i, "caption": c, "split": "dictionary", "source_file": "", "source_row": i, "n_tokens": 5,
             "seed": i}
            for i, c in enumerate(captions)
        ],
    )  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    write_tables(root)
    config = load_config(CONFIG, [])
    splits = {"train": 0, "dictionary": IMAGES, "layout": 0, "style": 0}
    prompts = config.prompts.model_copy(update={"splits": splits})
    labels = config.labels.model_copy(update={"assign_images": 5})
    return Study(str(root), config.model_copy(update={"prompts": prompts, "labels": labels}), "hash")


def test_a_card_is_drawn_into_the_study_folder(study):
    path = draw_card(study.root, SITE, K, 0)
    assert path == Path(study.root) / "figures" / "cards" / "mid-0.50-cond-k20-cid0.png"
    first = path.read_bytes()
    with Image.open(path) as image:
        assert 900 < image.width < 1600 and 1000 < image.height < 1800
    assert draw_card(study.root, ("mid", 0.5001, "cond"), K, 0).read_bytes() == first


def test_a_card_shows_what_the_tables_say(study, monkeypatch):
    shown = []

    def keep(card, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        shown.append(card)

    monkeypatch.setattr(cards, "concept_card", keep)
    draw_card(study.root, SITE, K, 0)
    (card,) = shown
    assert card.title == "dog" and card.subtitle == "block mid, t = 0.50, cond, k = 20, CID 0"
    assert [label.name for label in card.labels] == ["dog", "cat", "a label of a great many words"]
    assert [label.assigned for label in card.labels] == [True, True, False]
    assert card.labels[0].iou_heldout == pytest.approx(0.59) and card.labels[2].iou_heldout is None
    assert card.n_bins == 10 and [len(card.bins[b]) for b in range(10)] == [3] * 10
    facts = dict(card.facts)
    assert facts["coverage of those images"] == "20 ± 5 % of cells" and facts["broader label"] == "animal"
    assert facts["cells where it fires, of all"] == "3.1 %" and facts["cohesion of its labels"] == "0.81"
    strongest = card.bins[0][0]
    assert strongest.heat.shape == GRID and strongest.caption == make_scene(0, objects=("dog",)).caption
    assert np.array_equal(strongest.image, make_scene(0, objects=("dog",)).image)


def test_a_dead_concept_has_a_card_too(study):
    assert draw_card(study.root, SITE, K, 1).is_file()


@pytest.mark.parametrize(
    ("site", "k", "cid", "message"),
    [
        (SITE, K, 9, r"mid/0\.50/cond has no concept 9: name one from 0 to 8"),
        (SITE, K, -1, r"mid/0\.50/cond has no concept -1: name one from 0 to 8"),
        (SITE, K, 10**30, r"mid/0\.50/cond has no concept 10+: name one from 0 to 8"),
        (SITE, 10, 0, r"no labelled concepts at mid/0\.50/cond/k10; there are mid/0\.50/cond/k20: name one of them"),
        (("up", 0.5, "cond"), K, 0, r"no labelled concepts at up/0\.50/cond/k20; there are mid"),
    ],
)
def test_a_concept_that_is_not_there_is_refused_with_what_is(study, site, k, cid, message):
    with pytest.raises(StudyError, match=message):
        draw_card(study.root, site, k, cid)


def test_before_labelling_there_is_no_card(tmp_path):
    with pytest.raises(StudyError, match="run `concepts label` first"):
        draw_card(tmp_path, SITE, K, 0)


def test_lost_images_are_named(tmp_path):
    write_tables(tmp_path)
    add_part(tmp_path, "images", "a", [])
    with pytest.raises(StudyError, match="lack prompt 0, 1, 2, 3, 4: run `concepts verify`"):
        draw_card(tmp_path, SITE, K, 0)


def test_a_damaged_image_is_named(tmp_path):
    write_tables(tmp_path)
    row = {"prompt_id": 0, "image": b"no image", "width": 64, "height": 64, "sha256": ""}
    add_part(tmp_path, "images", "a", [row | {"prompt_id": i} for i in range(IMAGES)])
    with pytest.raises(
        StudyError, match=r"table images holds for prompt 0 bytes that are no image .*: run `concepts v"
    ):
        draw_card(tmp_path, SITE, K, 0)


def cids(study, n):
    picked = pick_cards(study, n)
    assert all(isinstance(key, ConceptKey) and key[:2] == (SITE, K) for key in picked)
    return [key.cid for key in picked]


def test_picked_concepts_are_varied(study):
    # Labelled by the selection half's IoU, of distinct labels (2 tree, 0 dog, 8 sky); context-free, global, unlabelled.
    assert cids(study, 10) == [2, 0, 8, 4, 5, 6]
    assert cids(study, 4) == [2, 0, 4, 5]
    assert cids(study, 1) == [2]
    for key in pick_cards(study, 3):
        assert draw_card(study.root, *key).is_file()


def test_the_concept_with_a_broader_label_is_picked_where_others_would_go_first(study):
    assert cids(study, 2) == [2, 4]
    assert 0 in cids(study, 8)


def test_nothing_is_picked_from_nothing(study, tmp_path):
    assert pick_cards(Study(str(tmp_path), study.config, ""), 5) == []
