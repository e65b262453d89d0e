"""Heat maps of a whole study: each image's map is that of the image sampled alone, for what caption and masks name."""

import numpy as np
import pytest

from diffusion.attention import AttentionMaps
from diffusion.sampling import sample
from storage.query import query
from study.models import borrowed_model
from study.opening import recorded_study
from vision.words import mentions

pytestmark = pytest.mark.system


def test_maps_are_those_of_the_image_sampled_alone(tiny_study):
    study = recorded_study(tiny_study)
    sql = "select * from attention_maps join prompts using (prompt_id) where block = 'mid' order by prompt_id, label, t"
    rows = query(tiny_study, sql).to_pylist()
    prompt_id, caption, seed = (rows[-1][name] for name in ("prompt_id", "caption", "seed"))
    mine = [row for row in rows if row["prompt_id"] == prompt_id]
    with borrowed_model(study) as model:
        tokens = model.tokenizer.convert_ids_to_tokens(model.tokenizer(caption).input_ids)
        at = {row["label"]: [i for i, token in enumerate(tokens) if row["label"] in token] for row in mine}
        maps = AttentionMaps(study.config.sites.blocks, (1.0, 0.0), study.config.sampling.steps, [at])
        with maps.attached(model):
            sample(model, [caption], [seed], study.config.sampling, decode=False)
    assert at and all(at.values())
    for row in mine:
        expected = maps.taken["mid", row["t"]][0][row["label"]]
        assert np.array(row["map"]) == pytest.approx(expected.ravel(), rel=1e-3)


def test_there_is_a_map_of_every_label_that_caption_and_segments_name(tiny_study):
    shown = query(tiny_study, "select distinct prompt_id, label, caption from segments join prompts using (prompt_id)")
    expected = {(row["prompt_id"], row["label"]) for row in shown.to_pylist() if mentions(row["caption"], row["label"])}
    found = query(tiny_study, "select block, t, prompt_id, label from attention_maps").to_pylist()
    keys = [(row["block"], row["t"], row["prompt_id"], row["label"]) for row in found]
    assert len(keys) == len(set(keys))
    for block in ("mid", "up"):
        for t in (1.0, 0.0):
            assert {key[2:] for key in keys if key[:2] == (block, t)} == expected
