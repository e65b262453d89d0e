"""Sampling against diffusers' own pipeline, and what recording and editing promise."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from diffusion.digest import loaded_files
from diffusion.edits import Edit
from diffusion.errors import DiffusionError
from diffusion.model import (
    attention_blocks,
    block_shapes,
    check_blocks,
    embed_labels,
    load_model,
    token_ids,
)
from diffusion.sampling import SitesToRecord, initial_noise, sample
from diffusion.settings import ModelSettings, SamplingSettings
from tests.paths import SD_MINI

BLOCKS = {"down": "down_blocks.0.attentions.0", "mid": "mid_block.attentions.0", "up": "up_blocks.1.attentions.0"}
FEW = SamplingSettings(steps=5, guidance_scale=3.0)
CAPTIONS = ["a red car on the grass", "a boat over the water at night", "a tree in the snow"]


@pytest.fixture(scope="module")
def model():
    return load_model(ModelSettings(path=str(SD_MINI), device="cpu"))


def test_images_equal_those_of_diffusers_own_pipeline(model):
    pipeline = StableDiffusionPipeline.from_pretrained(SD_MINI, safety_checker=None).to(torch.float32)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    latents = initial_noise(model, [1, 2, 3], FEW)
    theirs = pipeline(CAPTIONS, num_inference_steps=5, guidance_scale=3.0, latents=latents, output_type="np").images
    ours = sample(model, CAPTIONS, [1, 2, 3], FEW).images
    assert np.abs(theirs * 255 - ours).max() <= 1.01


def test_an_image_does_not_depend_on_its_batch(model):
    record = SitesToRecord(BLOCKS, (1.0, 0.0))
    together = sample(model, CAPTIONS, [1, 2, 3], FEW, record)
    alone = sample(model, CAPTIONS[1:2], [2], FEW, record)
    assert np.abs(together.images[1].astype(int) - alone.images[0]).max() <= 1
    for site, values in alone.activations.items():
        assert np.allclose(together.activations[site][1], values[0], atol=2e-2, rtol=1e-2)


def test_recorded_values_are_output_minus_input_of_the_block(model):
    seen = []

    def spy(module, inputs, output):
        seen.append((output[0] - inputs[0]).permute(0, 2, 3, 1))

    handle = model.unet.get_submodule(BLOCKS["mid"]).register_forward_hook(spy)
    got = sample(model, CAPTIONS, [1, 2, 3], FEW, SitesToRecord({"mid": BLOCKS["mid"]}, (1.0, 0.5, 0.0))).activations
    handle.remove()
    for t, step in ((1.0, 0), (0.5, 2), (0.0, 4)):
        assert np.array_equal(got["mid", t, "uncond"], seen[step][:3].half().numpy())
        assert np.array_equal(got["mid", t, "cond"], seen[step][3:].half().numpy())
    assert not np.array_equal(got["mid", 0.0, "uncond"], got["mid", 0.0, "cond"])


def test_what_is_recorded_does_not_ask_for_the_image(model):
    record = SitesToRecord(BLOCKS, (1.0, 0.0))
    whole, bare = (sample(model, CAPTIONS, [1, 2, 3], FEW, record, decode=decode) for decode in (True, False))
    assert len(whole.images) == 3 and not len(bare.images)
    assert whole.activations.keys() == bare.activations.keys()
    assert all(np.array_equal(whole.activations[site], bare.activations[site]) for site in whole.activations)


def test_shapes_are_the_papers_grids(model):
    shapes = block_shapes(model, BLOCKS, FEW)
    assert {name: shape[:2] for name, shape in shapes.items()} == {"down": (16, 16), "mid": (8, 8), "up": (16, 16)}


def test_an_edit_of_nothing_changes_no_bit_and_an_edit_acts_only_in_its_window(model):
    plain = sample(model, CAPTIONS, [1, 2, 3], FEW).images
    same = sample(model, CAPTIONS, [1, 2, 3], FEW, edits=[Edit(BLOCKS["mid"], 0, 1, lambda delta, t: delta)])
    assert np.array_equal(plain, same.images)
    times = []

    def push(delta, t):
        times.append(t)
        return delta + 5.0

    pushed = sample(model, CAPTIONS, [1, 2, 3], FEW, edits=[Edit(BLOCKS["mid"], 0.6, 1.0, push)])
    assert times == [1.0, 0.75] and not np.array_equal(plain, pushed.images)


def test_an_edit_touches_the_cond_half_alone(model):
    record = SitesToRecord({"mid": BLOCKS["mid"]}, (1.0,))
    plain = sample(model, CAPTIONS, [1, 2, 3], FEW, record).activations
    edit = Edit(BLOCKS["mid"], 0, 1, lambda delta, t: delta + 1.0)
    edited = sample(model, CAPTIONS, [1, 2, 3], FEW, record, [edit]).activations
    assert np.array_equal(plain["mid", 1.0, "uncond"], edited["mid", 1.0, "uncond"])
    difference = edited["mid", 1.0, "cond"].astype(float) - plain["mid", 1.0, "cond"]
    assert np.allclose(difference, 1.0, atol=2e-2)


def test_hooks_are_gone_after_an_error(model):
    def fail(delta, t):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        sample(model, CAPTIONS, [1, 2, 3], FEW, edits=[Edit(BLOCKS["mid"], 0, 1, fail)])
    assert not model.unet.get_submodule(BLOCKS["mid"])._forward_hooks


def test_a_value_that_is_not_finite_is_named(model):
    edit = Edit(BLOCKS["mid"], 0, 1, lambda delta, t: delta * float("nan"))
    with pytest.raises(DiffusionError, match="not finite"):
        sample(model, CAPTIONS, [1, 2, 3], FEW, edits=[edit])


def test_questions_about_the_model(model):
    assert set(BLOCKS.values()) <= set(attention_blocks(model))
    assert list(map(len, token_ids(model, ["a red car", "", "a " * 100]))) == [5, 2, 102]
    vectors = embed_labels(model, ["car", "tree"])
    assert vectors.shape[0] == 2 and not np.allclose(vectors[0], vectors[1])
    with pytest.raises(DiffusionError, match=r"label 'tree tree .* is 42 tokens to the text encoder, which .* 32"):
        embed_labels(model, ["tree " * 40])


def test_bad_models_say_what_to_do(model, tmp_path):
    with pytest.raises(DiffusionError, match="is not a folder"):
        loaded_files(str(tmp_path / "none"))
    with pytest.raises(DiffusionError, match="cannot be loaded"):
        load_model(ModelSettings(path=str(tmp_path)))
    with pytest.raises(DiffusionError, match=r"no block 'middle'; it has .*mid_block.attentions.0"):
        check_blocks(model, {"mid": "middle"})


def test_rows_of_one_prompt_are_sampled_once_until_an_edit_parts_them(model):
    captions, seeds = [CAPTIONS[0], CAPTIONS[1], CAPTIONS[0], CAPTIONS[0]], [1, 2, 1, 9]
    push = torch.tensor([0.0, 1.0, 4.0, 1.0])[:, None, None, None]
    rows = []
    handle = model.unet.register_forward_hook(lambda module, inputs, output: rows.append(len(inputs[0])))
    record = SitesToRecord({"mid": BLOCKS["mid"]}, (1.0, 0.0))
    edit = Edit(BLOCKS["mid"], 0.0, 0.3, lambda delta, t: delta + push[: len(delta)])
    together = sample(model, captions, seeds, FEW, record, [edit])
    handle.remove()
    assert rows == [6, 6, 6, 8, 8]  # three distinct rows, twice for guidance, until t = 0.25
    for i in range(4):
        one = Edit(BLOCKS["mid"], 0.0, 0.3, lambda delta, t, i=i: delta + push[i])
        alone = sample(model, captions[i : i + 1], seeds[i : i + 1], FEW, record, [one])
        assert np.abs(together.images[i].astype(int) - alone.images[0]).max() <= 1
        for site, values in alone.activations.items():
            assert np.allclose(together.activations[site][i], values[0], atol=2e-2, rtol=1e-2)
    assert np.abs(together.images[0].astype(int) - together.images[2]).max() > 1


def test_a_batch_edited_again_starts_where_its_window_begins_and_ends_with_the_same_bits(model):
    captions, seeds, calls, beginnings = CAPTIONS[:2], [1, 2], [], {}

    def edited(strength, t_high=0.3, seeds=seeds, **more):
        calls.clear()
        edit = Edit(BLOCKS["mid"], 0.0, t_high, lambda delta, t: delta + strength)
        handle = model.unet.register_forward_hook(lambda *_: calls.append(1))
        made = sample(model, captions, seeds, FEW, edits=[edit], **more)
        handle.remove()
        return made.images, len(calls)

    first, steps = edited(1.0, beginnings=beginnings)
    assert steps == FEW.steps and np.array_equal(first, edited(1.0)[0])
    again, steps = edited(4.0, beginnings=beginnings)
    assert steps == 2  # t = 0.25 and 0
    assert np.array_equal(again, edited(4.0)[0]) and not np.array_equal(again, first)
    earlier, steps = edited(1.0, t_high=0.6, beginnings=beginnings)
    assert steps == 3 and np.array_equal(earlier, edited(1.0, t_high=0.6)[0])  # from t = 0.5 on
    other, steps = edited(1.0, seeds=[2, 1], beginnings=beginnings)
    assert steps == FEW.steps and np.array_equal(other, edited(1.0, seeds=[2, 1])[0])
    record = SitesToRecord({"mid": BLOCKS["mid"]}, (1.0, 0.0))
    assert edited(4.0, beginnings=beginnings, record=record)[1] == FEW.steps  # t = 1 has to be passed through
