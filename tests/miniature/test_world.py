"""The scene world: exact, seeded, silent about positions, with the correlations that its file states."""

import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from miniature.captions import LOOK_OPENINGS
from miniature.prompts import SCHEMA, rows
from miniature.settings import COLOUR_WORDS, DEFAULT_FILE, WorldError, default_world, load_world
from miniature.tokenizer import MAX_TOKENS, world_words, write_tokenizer
from miniature.truth import truth_row
from miniature.world import LABELS, LOOKS, PARENTS, make_scene
from tests.paths import ROOT
from vision.rle import decode

POSITION = re.compile(r"\b(left|right|top|bottom|upper|lower|centre|center|middle|behind|front|beside|corner)\b")


def test_a_scene_is_a_function_of_its_seed():
    a, b = make_scene(7), make_scene(7)
    assert np.array_equal(a.image, b.image) and a.caption == b.caption
    assert not np.array_equal(a.image, make_scene(8).image)


def test_masks_partition_the_image_and_captions_name_what_is_there():
    for seed in range(150):
        scene = make_scene(seed)
        total = np.sum([m.astype(int) for m in scene.masks.values()], axis=0)
        assert (total == 1).all() and set(scene.masks) <= set(LABELS)
        assert not POSITION.search(scene.caption)
        assert all(item.name in scene.caption.replace(",", "").split() for item in scene.objects)
        assert scene.ground in scene.caption


def test_looks_are_named_and_leave_the_masks_alone():
    found = {make_scene(seed).look for seed in range(400)}
    assert found == {None, *LOOKS}
    for seed in range(100):
        scene = make_scene(seed)
        openings = LOOK_OPENINGS.get(scene.look, ())
        assert any(o in scene.caption for o in openings) == (scene.look is not None)
        assert (scene.style or "") in scene.caption and (scene.sky == "clear" or scene.sky in scene.caption)


def test_an_unknown_object_is_refused():
    with pytest.raises(ValueError, match="unknown object 'dragon': the world knows house"):
        make_scene(0, ("dragon",))


def changed_world(path, **changes):
    path.write_text(yaml.safe_dump({**yaml.safe_load(DEFAULT_FILE.read_text()), **changes}))
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objects": {"dragon": 1.0}}, "objects: unknown 'dragon', the world can draw house, tree"),
        ({"prefers": [{"object": "boat", "ground": "lava", "probability": 0.5}]}, "prefers.ground: unknown 'lava'"),
        ({"count": [0.5, 0.2]}, "count: the probabilities sum to 0.7, not to 1"),
        ({"styled": 1.5}, "styled: "),
        ({"moons": 3}, "moons: "),
        ({"size": [30, 20]}, "size: give two heights in pixels"),
    ],
)
def test_a_world_file_that_cannot_be_drawn_is_refused_by_file_and_field(tmp_path, changes, words):
    path = changed_world(tmp_path / "world.yaml", **changes)
    with pytest.raises(WorldError, match=re.escape(str(path)) + ".*" + re.escape(words)):
        load_world(path)


def test_a_world_file_that_is_none_is_named(tmp_path):
    with pytest.raises(WorldError, match="cannot be read as a world file"):
        load_world(tmp_path / "missing.yaml")
    (tmp_path / "broken.yaml").write_text("objects: [")
    with pytest.raises(WorldError, match="cannot be read as a world file"):
        load_world(tmp_path / "broken.yaml")


def test_frequencies_are_those_of_the_file():
    """Binomial counts against the file's probabilities, four standard errors wide."""
    scenes, world = [make_scene(seed) for seed in range(2500)], default_world()

    def expect(count, n, p):
        assert abs(count - n * p) <= 4 * np.sqrt(n * p * (1 - p)), (count, n, p)

    expect(sum(s.style is not None for s in scenes), len(scenes), world.styled)
    plain = [s for s in scenes if s.style is None]
    expect(sum(s.sky != "clear" for s in plain), len(plain), world.lit)
    for number, share in enumerate(world.count, start=1):
        expect(sum(len(s.objects) == number for s in scenes), len(scenes), share)
    boats = [s for s in scenes if any(o.name == "boat" for o in s.objects)]
    expect(sum(s.ground == "water" for s in boats), len(boats), 0.8 + 0.2 / 5)
    cars = [s for s in scenes if {o.name for o in s.objects} & {"car", "boat"} == {"car"}]
    expect(sum(s.ground == "road" for s in cars), len(cars), 0.6 + 0.4 / 5)
    counts = {name: sum(any(o.name == name for o in s.objects) for s in scenes) for name in ("kite", "tree")}
    assert counts["kite"] < 0.4 * counts["tree"]


def test_a_world_with_relations_states_only_true_ones(tmp_path):
    world = load_world(changed_world(tmp_path / "world.yaml", relations=True))
    words_of = "to the left of|to the right of|above|below"
    pattern = re.compile(rf"(\w+) ({words_of}) an? (?:(?:{'|'.join(COLOUR_WORDS)}) )?(\w+)")
    stated = 0
    for seed in range(300):
        scene = make_scene(seed, world=world)
        at = {item.name: (item.x, item.y) for item in scene.objects}
        assert bool(pattern.search(scene.caption)) == (len(scene.objects) > 1)
        for first, words, second in pattern.findall(scene.caption):
            (x0, y0), (x1, y1) = at[first], at[second]
            assert {"to the left of": x0 < x1, "to the right of": x0 > x1, "above": y0 < y1, "below": y0 > y1}[words]
            stated += 1
    assert stated > 100


def test_the_longest_caption_fits_the_tokenizer(tmp_path):
    world = load_world(changed_world(tmp_path / "world.yaml", relations=True))
    tokenizer = write_tokenizer(tmp_path)
    captions = [make_scene(seed, world=world).caption for seed in range(1500)]
    assert max(len(ids) for ids in tokenizer(captions).input_ids) <= MAX_TOKENS


def test_truth_says_what_was_drawn():
    for seed in range(40):
        scene, row = make_scene(seed), truth_row(3, seed, default_world())
        masks = {(x["kind"], x["label"]): x for x in row["labels"]}
        for item, drawn in zip(scene.objects, row["objects"], strict=True):
            assert (drawn["label"], drawn["colour"]) == (item.name, item.colour)
            assert drawn["visible_px"] == (scene.masks[item.name].sum() if item.name in scene.masks else 0)
            assert drawn["whole_px"] >= drawn["visible_px"] and drawn["parent"] == PARENTS.get(item.name)
        for (kind, label), entry in masks.items():
            if kind in ("object", "ground", "sky"):
                mask = decode(entry["rle_counts"], entry["rle_size"])
                assert np.array_equal(mask, scene.masks[label])
            elif kind == "parent":
                children = [m for n, m in scene.masks.items() if PARENTS.get(n) == label]
                assert np.array_equal(decode(entry["rle_counts"], entry["rle_size"]), np.logical_or.reduce(children))
        assert (("look", scene.look) in masks) == (scene.look is not None)
        assert not (scene.look in ("sketch", "sepia") and any(kind == "colour" for kind, _ in masks))


def test_captions_come_in_laion_cocos_columns():
    shipped = pq.read_schema(ROOT / "miniature" / "captions.parquet")
    assert shipped.names == SCHEMA.names
    table = rows(300, seed=1)
    assert table.schema == SCHEMA and table["top_caption"].null_count > 0
    assert max(table["punsafe"].to_pylist()) > 0.1


def test_every_world_word_is_one_token_and_other_text_survives(tmp_path):
    tokenizer = write_tokenizer(tmp_path)
    assert all(len(tokenizer.tokenize(word)) == 1 for word in world_words())
    ids = tokenizer("zebra Привет 草").input_ids
    assert tokenizer.unk_token_id not in ids[1:-1] and len(ids) > 5
