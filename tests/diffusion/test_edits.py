"""Interventions on some images of a batch, in either half of guidance: edits, patches, other captions."""

import numpy as np
import pytest
import torch

from diffusion.edits import Edit, Patch, Switch, Watch, parting_steps
from diffusion.model import attention_blocks, load_model, running_order
from diffusion.sampling import SitesToRecord, sample
from diffusion.settings import ModelSettings, SamplingSettings
from tests.paths import SD_MINI

MID, UP = "mid_block.attentions.0", "up_blocks.1.attentions.0"
FEW = SamplingSettings(steps=5, guidance_scale=4.0, batch_size=4)
BOAT, NIGHT = "a boat on the sea", "a house in a field at night"
RECORD = SitesToRecord({"mid": MID, "up": UP}, (1.0, 0.75, 0.5, 0.25, 0.0))


@pytest.fixture(scope="module")
def model():
    return load_model(ModelSettings(path=str(SD_MINI)))


def close(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal but for the rounding of other batch sizes."""
    return np.abs(one.astype(int) - other).max() <= 1


def rows_of_each_step(model, *given, **more):
    """What is sampled, and the rows of the U-Net's calls."""
    rows = []
    handle = model.unet.register_forward_hook(lambda module, inputs, output: rows.append(len(inputs[0])))
    try:
        return sample(model, *given, **more), rows
    finally:
        handle.remove()


def test_when_images_part_is_the_first_step_at_which_anything_is_done_to_them():
    early, late = Edit(MID, 0.6, 1.0, lambda d, t: d, images=(1,)), Switch(("x",), 0.0, 0.3, (1, 3), UP)
    assert parting_steps([late, early], 4, 5) == [5, 0, 5, 3]
    assert parting_steps([Edit(MID, 0.9, 1.0, lambda d, t: d)], 2, 5) == [0, 0]
    assert parting_steps([], 2, 5) == [5, 5]


def test_images_of_one_prompt_part_each_when_something_is_done_to_it(model):
    edits = [
        Edit(MID, 0.0, 0.3, lambda delta, t: delta + 9.0, images=(1,)),
        Edit(UP, 0.6, 0.8, lambda delta, t: delta + 9.0, images=(2,)),
    ]
    together, rows = rows_of_each_step(model, [BOAT] * 4, [7] * 4, FEW, RECORD, edits)
    assert rows == [2, 4, 4, 6, 6]  # t = 1, 0.75, 0.5, 0.25, 0, both halves of each
    assert np.array_equal(together.images[0], together.images[3])
    for image, own in ((0, []), (1, edits[:1]), (2, edits[1:])):
        own = [Edit(e.module, e.t_low, e.t_high, e.apply) for e in own]
        alone = sample(model, [BOAT], [7], FEW, RECORD, own)
        assert close(together.images[image], alone.images[0]), image
        for site, values in alone.activations.items():
            assert np.allclose(together.activations[site][image], values[0], atol=2e-2, rtol=1e-2), (image, site)
    assert not close(together.images[1], together.images[0]) and not close(together.images[2], together.images[0])


def test_an_edit_touches_its_own_half_and_images_alone(model):
    first = SitesToRecord({"up": UP}, (1.0,))
    plain = sample(model, [BOAT, NIGHT], [1, 2], FEW, first).activations
    edit = Edit(UP, 0.9, 1.0, lambda delta, t: delta + 1.0, "uncond", (1,))
    edited = sample(model, [BOAT, NIGHT], [1, 2], FEW, first, [edit]).activations
    assert np.array_equal(plain["up", 1.0, "cond"], edited["up", 1.0, "cond"])
    change = edited["up", 1.0, "uncond"].astype(float) - plain["up", 1.0, "uncond"]
    assert not change[0].any() and np.allclose(change[1], 1.0, atol=2e-2)


def test_edits_of_one_block_add_up_in_their_order(model):
    first = SitesToRecord({"up": UP}, (1.0,))
    plain = sample(model, [BOAT], [1], FEW, first).activations["up", 1.0, "cond"].astype(float)
    edits = [Edit(UP, 0.9, 1.0, lambda d, t: d + 1.0), Edit(UP, 0.9, 1.0, lambda d, t: 2 * d)]
    edited = sample(model, [BOAT], [1], FEW, first, edits).activations["up", 1.0, "cond"]
    assert np.allclose(edited, 2 * (plain + 1), atol=5e-2, rtol=1e-2)


def test_a_patch_puts_another_images_update_in_the_same_place(model):
    share = torch.zeros(1, 8, 8)
    share[:, :4] = 1.0
    patch = Patch(MID, 0.6, 1.0, (0,), (1,), share=share)
    plain = sample(model, [BOAT, NIGHT], [1, 2], FEW, RECORD).activations
    patched = sample(model, [BOAT, NIGHT], [1, 2], FEW, RECORD, [patch]).activations
    site = ("mid", 1.0, "cond")
    assert np.allclose(patched[site][0, :4], plain[site][1, :4], atol=1e-2, rtol=1e-2)
    assert np.array_equal(patched[site][0, 4:], plain[site][0, 4:])
    for where, values in plain.items():
        assert np.array_equal(patched[where][1], values[1]), where  # the source goes its own way


def test_a_patch_from_its_own_run_changes_nothing(model):
    patches = [Patch(MID, 0.0, 1.0, (0,), (1,), half) for half in ("cond", "uncond")]
    made = sample(model, [BOAT, BOAT], [1, 1], FEW, edits=patches).images
    assert close(made[0], made[1])


def test_another_caption_at_every_step_is_that_captions_image(model):
    other = sample(model, [NIGHT, NIGHT], [1, 2], FEW).images
    switch = Switch((NIGHT, NIGHT), 0.0, 1.0, (0, 1))
    assert close(sample(model, [BOAT, BOAT], [1, 2], FEW, edits=[switch]).images, other)


def test_another_caption_read_by_every_block_is_that_captions_image(model):
    """Text enters the U-Net by its attention blocks and nowhere else."""
    other = sample(model, [NIGHT], [1], FEW).images
    switches = [Switch((NIGHT,), 0.0, 1.0, (1,), module) for module in attention_blocks(model)]
    made = sample(model, [BOAT, BOAT], [1, 1], FEW, edits=switches).images
    assert close(made[1], other[0]) and close(made[0], sample(model, [BOAT], [1], FEW).images[0])
    one = sample(model, [BOAT, BOAT], [1, 1], FEW, edits=switches[:1]).images
    assert not close(one[1], made[1])


def test_a_caption_is_switched_in_its_window_alone(model):
    whole = sample(model, [NIGHT], [1], FEW).images[0]
    early = sample(model, [BOAT], [1], FEW, edits=[Switch((NIGHT,), 0.6, 1.0, (0,))]).images[0]
    never = sample(model, [BOAT], [1], FEW, edits=[Switch((NIGHT,), 0.6, 0.7, (0,))]).images[0]
    assert not close(early, whole) and not close(early, sample(model, [BOAT], [1], FEW).images[0])
    assert close(never, sample(model, [BOAT], [1], FEW).images[0])


def test_hooks_are_gone_after_an_error(model):
    def fail(delta, t):
        raise RuntimeError("stop")

    edits = [Switch((NIGHT,), 0.0, 1.0, (0,), UP), Patch(MID, 0.0, 1.0, (0,), (1,)), Edit(UP, 0.0, 1.0, fail)]
    with pytest.raises(RuntimeError, match="stop"):
        sample(model, [BOAT, NIGHT], [1, 2], FEW, edits=edits)
    for path in (MID, UP):
        module = model.unet.get_submodule(path)
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_a_watch_sees_what_the_edits_of_the_block_leave(model):
    """As the recorder keeps it, of its own steps, half and images; and it changes nothing."""
    edit = Edit(MID, 0.4, 0.8, lambda delta, t: delta + 1.0, images=(1,))
    seen = {}
    watches = [
        Watch(MID, 0.4, 0.8, lambda delta, t: seen.setdefault(("mid", t, "cond"), delta.clone()), images=(1, 2)),
        Watch(UP, 0.2, 0.4, lambda delta, t: seen.setdefault(("up", t, "uncond"), delta.clone()), "uncond"),
    ]
    given = ([BOAT, BOAT, NIGHT], [1, 1, 2], FEW, RECORD, [edit])
    plain, watched = sample(model, *given), sample(model, *given, watches=watches)
    assert np.array_equal(plain.images, watched.images)
    assert set(seen) == {("mid", 0.75, "cond"), ("mid", 0.5, "cond"), ("up", 0.25, "uncond")}
    for site, delta in seen.items():
        kept = plain.activations[site]
        kept = kept[1:] if site[0] == "mid" else kept
        assert np.array_equal(delta.numpy().astype(np.float16), kept), site


def test_a_run_that_stops_takes_no_further_step_and_leaves_its_beginnings(model):
    beginnings, times = {}, []
    watch = Watch(MID, 0.4, 0.8, lambda delta, t: times.append(t))
    stopped, rows = rows_of_each_step(model, [BOAT], [1], FEW, beginnings=beginnings, watches=[watch], stop=3)
    assert rows == [2, 2, 2] and len(stopped.images) == 0 and times == [0.75, 0.5]
    edit = Edit(MID, 0.2, 0.4, lambda delta, t: delta + 1.0)
    edited, rows = rows_of_each_step(model, [BOAT], [1], FEW, edits=[edit], beginnings=beginnings)
    assert rows == [2, 2, 2]  # from the last that is known
    assert np.array_equal(edited.images, sample(model, [BOAT], [1], FEW, edits=[edit]).images)
    # What is watched has to be passed through, though later steps are known.
    again, rows = rows_of_each_step(model, [BOAT], [1], FEW, beginnings=beginnings, watches=[watch])
    assert rows == [2, 2, 2, 2] and times == [0.75, 0.5] * 2
    assert np.array_equal(again.images, sample(model, [BOAT], [1], FEW).images)
    assert not model.unet.get_submodule(MID)._forward_hooks


def test_blocks_are_sorted_as_the_unet_runs_them(model):
    paths, ran = attention_blocks(model), []
    handles = [
        model.unet.get_submodule(path).register_forward_hook(lambda *_, path=path: ran.append(path)) for path in paths
    ]
    sample(model, [BOAT], [1], SamplingSettings(steps=2, guidance_scale=4.0, batch_size=4), stop=1)
    for handle in handles:
        handle.remove()
    assert sorted(paths, key=running_order) == ran
