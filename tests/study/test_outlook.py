"""What a study will take, counted apart from the code that makes it; a finished study is held to it elsewhere."""

from collections import namedtuple

import pytest

from diffusion.model import Facts
from sae.model import TopKSAE
from study import inputs
from study.config import load_config
from study.errors import StudyError
from study.inputs import check_inputs
from study.outlook import edits_of, hours, kept_images, outlook, refuse_no_room, sae_size, told, trial_edits_of
from tests.paths import ROOT

TINY, SD14 = (ROOT / "configs" / f"{name}.yaml" for name in ("tiny", "sd14"))
FACTS = Facts(64, 48, 32, {"mid": (2, 3, 5), "up": (4, 6, 7)})
SD = Facts(512, 512, 77, {"down": (16, 16, 1280), "mid": (8, 8, 1280), "up": (16, 16, 1280)})


def tiny(*settings):
    return load_config(TINY, list(settings))


def test_activations_are_two_bytes_of_every_channel_of_every_place_site_and_prompt():
    found = outlook(tiny("sites.conditionings=[cond, uncond]"), FACTS)
    prompts, each = 16 + 16 + 12 + 12, 2 * 2  # two times, two conditionings
    assert found.activation_bytes == prompts * each * (2 * 3 * 5 + 4 * 6 * 7) * 2
    assert (found.prompts, found.shards, found.sites) == (56, 7, 8)
    assert outlook(tiny("prompts.shard_size=9"), FACTS).shards == 7  # 6 whole ones and a rest of two


def test_the_full_setting_takes_what_its_file_says():
    found = outlook(load_config(SD14), SD)
    assert round(found.activation_bytes / 1e12, 1) == 2.2 and "about 2.2 TB" in SD14.read_text()
    assert found.saes == 18 * (2 + 2 + 2) and found.dictionaries == 36 and found.segmented == 45_000


@pytest.mark.parametrize(("d", "n"), [(5, 20), (1280, 5120)])
def test_an_sae_has_its_weights_bytes(d, n):
    assert sae_size(d, n) == sum(4 * tensor.numel() for tensor in TopKSAE(d, n, 3).state_dict().values())


def test_every_sae_of_a_site_is_counted():
    """Of each site: two seeds of one k, three that hold a part still, an untrained one, and two seeds of all times."""
    one = outlook(tiny("sites.blocks={mid: mid_block.attentions.0}"), FACTS)
    d, n = 5, 10
    assert one.saes == 2 * (2 + 3 + 1 + 2) and one.sae_bytes == one.saes * sae_size(d, n)
    assert one.checkpoint_bytes == 2 * 5 * 3 * sae_size(d, n)  # two sites at once, five members, Adam's two moments
    alone = outlook(tiny("sites.blocks={mid: mid_block.attentions.0}", "run.max_workers=1"), FACTS)
    assert 2 * alone.checkpoint_bytes == one.checkpoint_bytes
    without = outlook(tiny("sites.blocks={mid: mid_block.attentions.0}", "sae.across_time=false"), FACTS)
    assert without.saes == 2 * 6
    fewer = outlook(tiny("sites.blocks={mid: mid_block.attentions.0}", "sae.controls=[]"), FACTS)
    assert (fewer.saes, fewer.checkpoint_bytes) == (2 * 6, 2 * 3 * 3 * sae_size(d, n))


def test_kept_checkpoints_are_all_there_at_once():
    kept, swept = (outlook(tiny(f"run.keep_checkpoints={kept}"), FACTS) for kept in ("true", "false"))
    mid, up = 5 * 3 * sae_size(5, 10), 5 * 3 * sae_size(7, 14)
    assert kept.checkpoint_bytes == 2 * mid + 2 * up and swept.checkpoint_bytes == 2 * up


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ([], 8 + 16 + 12 + 12),  # of the train split the first eight
        (["sampling.train_images=true"], 56),
        (["prompts.splits={train: 5, dictionary: 16, layout: 12, style: 12}"], 5 + 40),
        (["prompts.splits={dictionary: 6, train: 16, layout: 12, style: 12}"], 6 + 2 + 24),
        (["prompts.splits={dictionary: 16, train: 16, layout: 12, style: 12}"], 16 + 24),
    ],
)
def test_images_of_the_train_split_are_kept_only_if_they_are_shown(settings, kept):
    found = outlook(tiny("interventions.keep_images=false", *settings), FACTS)
    assert kept_images(tiny(*settings)) == kept and found.image_bytes == kept * 64 * 48 * 3


def test_edits_are_cases_by_concepts_and_at_random():
    """One object in four quadrants and one look, each of one prompt, in two windows."""
    assert edits_of(tiny()) == 2 * 2 * (4 + 1)
    assert edits_of(tiny("interventions.prompts_per_target=100")) == 2 * 2 * (4 + 1) * 12  # the style split has 12
    assert edits_of(tiny("interventions.styles=[]")) == 2 * 2 * 4
    kept, dropped = (
        outlook(tiny(f"interventions.keep_images={keep}"), FACTS).image_bytes for keep in ("true", "false")
    )
    assert kept - dropped == 20 * 64 * 48 * 3


def test_strengths_are_tried_only_where_there_is_a_choice():
    """Two spatial strengths on four images in two windows, by concepts and at random; one global strength."""
    assert trial_edits_of(tiny()) == 2 * 2 * 2 * 4
    assert trial_edits_of(tiny("interventions.spatial_strengths=[4]")) == 0
    assert trial_edits_of(tiny("interventions.global_strengths=[4, 8, 16]")) == 2 * 2 * (2 + 3) * 4


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path, monkeypatch):
    found = outlook(load_config(SD14), SD)
    usage = namedtuple("usage", "total used free")
    root = tmp_path / "not" / "there" / "yet"
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(0, 0, found.bytes - 1))
    with pytest.raises(StudyError, match=r"the study takes up to 2\.\d\d TB, and the disk has 2\.\d\d TB left"):
        refuse_no_room(root, found)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(0, 0, found.bytes))
    refuse_no_room(root, found)
    assert not any(tmp_path.iterdir())


def test_fewer_vectors_than_a_batch_are_told_before_anything_is_written():
    """tiny.yaml trains on 16 prompts: 64 cells each at mid, 256 at up."""
    with pytest.raises(StudyError, match=r"sae.batch_size is 1025, .* give only 1024 vectors at block 'mid'"):
        check_inputs(tiny("sae.batch_size=1025"))
    inputs._check.cache_clear()
    assert check_inputs(tiny("sae.batch_size=1024")).shapes["mid"][:2] == (8, 8)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(3.4, "3 s"), (99, "99 s"), (100, "2 min"), (5999, "100 min"), (6000, "2 h"), (260_000, "3 days")],
)
def test_a_length_of_time_is_said_in_its_unit(seconds, said):
    assert hours(seconds) == said


def test_the_outlook_names_what_it_counts():
    lines = told(outlook(tiny(), FACTS))
    assert lines[0] == "collect      56 prompts in 7 shards, 4 sites of each"
    assert lines[3] == "intervene    at most 20 edited images"


def test_halving_tries_fewer():
    """Three strengths on half of the images, two on the rest; one strength alone is not tried at all."""
    settings = ["interventions.spatial_strengths=[2, 4, 8]", "interventions.global_strengths=[4]"]
    full, halved = (
        trial_edits_of(tiny(*settings, "interventions.calibration_images=8", f"interventions.calibration={how}"))
        for how in ("full", "halving")
    )
    assert full % (3 * 8) == 0 and halved == full // (3 * 8) * (3 * 4 + 2 * 4)
