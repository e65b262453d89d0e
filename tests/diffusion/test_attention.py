"""Heat maps of words against diffusers' own attention processor, and what has to hold of probabilities."""

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor

from diffusion.attention import AttentionMaps, token_positions
from diffusion.errors import DiffusionError
from diffusion.model import attention_blocks, load_model
from diffusion.sampling import sample
from diffusion.settings import ModelSettings, SamplingSettings
from tests.paths import SD_MINI

BLOCKS = {"down": "down_blocks.0.attentions.0", "mid": "mid_block.attentions.0"}
FEW = SamplingSettings(steps=3, guidance_scale=3.0)
CAPTIONS, SEEDS = ["a red boat over the water", "a tree"], [4, 5]


@pytest.fixture
def model():
    return load_model(ModelSettings(path=str(SD_MINI), device="cpu"))


class Spy(AttnProcessor):
    """Diffusers' plain processor, which keeps its probabilities: [B * heads, positions, tokens] of each call."""

    def __init__(self):
        self.seen = []

    def __call__(self, attn, *args, **given):
        own = attn.get_attention_scores

        def scores(*of):
            self.seen.append(own(*of))
            return self.seen[-1]

        attn.get_attention_scores = scores
        try:
            return super().__call__(attn, *args, **given)
        finally:
            del attn.get_attention_scores


def sampled(model, maps=None, captions=CAPTIONS, seeds=SEEDS):
    if maps is None:
        return sample(model, captions, seeds, FEW).images
    with maps.attached(model):
        return sample(model, captions, seeds, FEW).images


def test_maps_are_the_sums_of_what_diffusers_own_processor_computes(model):
    words = [{"boat": [3], "the water": [5, 6]}, {"tree": [2], "nothing": []}]
    maps = AttentionMaps(BLOCKS, (1.0, 0.5, 0.0), 3, words)
    sampled(model, maps)
    assert set(maps.taken) == {(block, t) for block in BLOCKS for t in (1.0, 0.5, 0.0)}
    spies = {name: Spy() for name in BLOCKS}
    for name, path in BLOCKS.items():
        (layer,) = model.unet.get_submodule(path).transformer_blocks
        layer.attn2.set_processor(spies[name])
        heads = layer.attn2.heads
    sampled(model)
    for name, side in (("down", 16), ("mid", 8)):
        assert len(spies[name].seen) == 3
        for steps, t in ((1, 1.0), (2, 0.5), (3, 0.0)):
            for image, of_image in enumerate(words):
                for word, positions in of_image.items():
                    expected = np.zeros((side, side))
                    for probabilities in spies[name].seen[:steps]:
                        for head in range(heads):
                            of_head = probabilities[(2 + image) * heads + head]  # rows 0 and 1 are uncond
                            for position in positions:
                                expected += of_head[:, position].reshape(side, side).numpy() / len(positions)
                    found = maps.taken[name, t][image][word]
                    assert found.dtype == np.float32 and found == pytest.approx(expected, abs=1e-5)


def test_the_tokens_of_a_caption_share_what_every_position_has(model):
    """Each head of each step gives every position a probability of 1 in all."""
    maps = AttentionMaps({"mid": BLOCKS["mid"]}, (0.0,), 3, [{"all": list(range(model.context))}])
    sampled(model, maps, CAPTIONS[:1], SEEDS[:1])
    heads = model.unet.get_submodule(BLOCKS["mid"]).transformer_blocks[0].attn2.heads
    assert maps.taken["mid", 0.0][0]["all"] * model.context == pytest.approx(np.full((8, 8), 3.0 * heads), rel=1e-4)


def test_recording_changes_no_image_and_leaves_no_hook(model):
    plain = sampled(model)
    assert np.array_equal(sampled(model, AttentionMaps(BLOCKS, (1.0,), 3, [{}, {}])), plain)
    with pytest.raises(RuntimeError, match="stop"), AttentionMaps(BLOCKS, (1.0,), 3, [{}, {}]).attached(model):
        raise RuntimeError("stop")
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.unet.modules())


def test_a_block_that_the_model_does_not_have_is_named(model):
    maps = AttentionMaps({"mid": "mid_block.attentions.7"}, (1.0,), 3, [{}])
    with pytest.raises(DiffusionError, match=r"sites.blocks.mid: the model has no block 'mid_block.attentions.7'"):
        sampled(model, maps, CAPTIONS[:1], SEEDS[:1])
    assert BLOCKS["mid"] in attention_blocks(model)


@pytest.mark.parametrize(
    ("caption", "spans", "words"),
    [
        ("a red boat over the water", [(6, 10)], ["boat"]),
        ("two boats, a hot air balloon", [(4, 9)], ["boats"]),
        ("two boats, a hot air balloon", [(13, 28)], ["hot", "air", "balloon"]),
        ("a cat and a cat", [(2, 5), (12, 15)], ["cat", "cat"]),
        ("a cat", [], []),
    ],
)
def test_the_tokens_of_mentions_are_those_that_the_text_encoder_reads(model, caption, spans, words):
    ids = model.tokenizer(caption).input_ids
    found = token_positions(model, caption, spans)
    assert found == sorted(set(found)) and 0 not in found
    assert model.tokenizer.decode([ids[at] for at in found]).split() == words


def test_a_mention_beyond_what_is_read_has_no_tokens(model):
    caption = "a cat " * model.context + "boat"
    assert token_positions(model, caption, [(len(caption) - 4, len(caption))]) == []


def test_maps_on_a_device_of_their_own_come_back_as_arrays(model):
    maps = AttentionMaps({"mid": BLOCKS["mid"]}, (1.0,), 3, [{"tree": [2]}])
    sampled(model, maps, CAPTIONS[1:], SEEDS[1:])
    found = maps.taken["mid", 1.0][0]["tree"]
    assert isinstance(found, np.ndarray) and not isinstance(found, torch.Tensor) and found.shape == (8, 8)
