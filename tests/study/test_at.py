"""The handle of a site and of a dictionary: names and folders of the contract, what is read, and on which device."""

import numpy as np
import pytest
import torch

from sae.errors import SAEError
from sae.io import load_sae, save_sae
from sae.members import Member
from sae.model import TopKSAE
from storage.activations import ActivationStore
from storage.publish import publish_unit
from storage.site import Site
from study import devices
from study.config import load_config
from study.errors import StudyError
from study.study import Study
from tests.paths import ROOT

SITE = ("mid", 0.5, "cond")
SHAPE, PROMPTS, SHARD = (2, 3, 4), 56, 8


@pytest.fixture
def study(tmp_path):
    """An empty study of configs/tiny.yaml at one more time, with a store whose values tell their prompt."""
    made = Study(str(tmp_path), load_config(ROOT / "configs" / "tiny.yaml", ["sites.times=[1.0, 0.5, 0.0]"]), "hash")
    store = ActivationStore.create(tmp_path, {SITE: SHAPE}, PROMPTS, SHARD)
    for shard in range(store.n_shards):
        start, stop = store.shard_range(shard)
        values = np.arange(start, stop, dtype=np.float16)[:, None, None, None]
        store.write_shard(SITE, shard, values * np.ones((1, *SHAPE), np.float16))
    return made


def put_sae(study, kind, seed):
    """An SAE of a kind, and the record that vouches for it."""
    here = study.at(SITE, 4)
    torch.manual_seed(seed)
    sae = TopKSAE(4, 8, 2)
    for parameter in sae.parameters():
        torch.nn.init.normal_(parameter)
    save_sae(here.folder_of(kind), sae, {})
    files = sorted(here.folder_of(kind).glob("*.*"))
    stage, unit = ("share", "mid/cond") if kind == "shared" else ("train", "mid/0.50/cond/k4")
    publish_unit(study.root, stage, unit, {}, "x", "hash", files)
    return sae


def test_a_site_equals_its_tuple_and_says_how_it_is_written():
    site = Site(*SITE)
    assert site == SITE and hash(site) == hash(SITE) and {SITE: 1}[site] == 1
    assert (site.path, site.series) == ("mid/0.50/cond", "mid/cond")
    assert site.columns == {"block": "mid", "t": 0.5, "conditioning": "cond"}
    assert site.filters == [("block", "==", "mid"), ("t", "==", 0.5), ("conditioning", "==", "cond")]


def test_the_names_and_folders_are_those_of_the_contract(study):
    here = study.at(SITE, 4)
    assert here.name == "mid/0.50/cond/k4" and here.columns == {**Site(*SITE).columns, "k": 4}
    assert here.filters == [*Site(*SITE).filters, ("k", "==", 4)]
    below = {kind: here.folder_of(kind).relative_to(study.root).as_posix() for kind in ("trained", "shared", "frozen")}
    assert below == {
        "trained": "saes/mid/0.50/cond/k4",
        "shared": "saes/mid/0.50/cond/k4/shared",
        "frozen": "saes/mid/0.50/cond/k4/frozen",
    }
    assert (here.grid, here.channels) == ((2, 3), 4)


@pytest.mark.parametrize(
    ("member", "below"),
    [
        (Member(4, 8, 0), "k4"),
        (Member(8, 32, 0), "k8/x8"),
        (Member(4, 8, 1), "k4/seed1"),
        (Member(4, 32, 2, "frozen"), "k4/x8/seed2/frozen"),
        (Member(4, 8, 0, "soft_frozen"), "k4/soft_frozen"),
        (Member(4, 8, 0, "frozen_encoder"), "k4/frozen_encoder"),
    ],
)
def test_every_member_has_a_folder_of_its_own(study, member, below):
    assert study.config.sae.expansion[0] == 2 and study.config.seed == 0
    here = study.at(SITE)
    assert here.member_folder(member) == here.folder / below


def test_maps_are_a_splits_shard_by_shard_and_end_with_it(study):
    splits = study.config.prompts.splits
    start = splits["train"]
    found = list(study.at(SITE).maps("dictionary"))
    assert [list(ids) for ids, _ in found] == [list(range(start, start + 8)), list(range(start + 8, start + 16))]
    assert all(maps.shape == (8, *SHAPE) and maps[:, 0, 0, 0].tolist() == list(ids) for ids, maps in found)
    first = list(study.at(SITE).maps("dictionary", most=9))
    assert [len(ids) for ids, _ in first] == [8, 1] and first[1][1].shape == (1, *SHAPE)
    assert [len(ids) for ids, _ in study.at(SITE).maps("layout", most=99)] == [8, 4]


def test_codes_are_the_saes_own_by_image(study):
    sae = put_sae(study, "trained", 0)
    here = study.at(SITE, 4)
    parts = list(here.codes(here.sae(), "style"))
    assert [i for part in parts for i in part.ids] == list(range(44, 56))
    values, latents = sae.encode(torch.full((1, 4), 47.0))
    assert np.allclose(parts[0].values[3], values.detach().numpy()) and (parts[0].latents[3] == latents.numpy()).all()
    with here.codes_on_disk(here.sae(), "style") as stored:
        assert [part.ids for part in stored] == [part.ids for part in parts]


def test_an_sae_is_read_as_its_record_vouches_for_it(study):
    here = study.at(SITE, 4)
    assert not here.has("trained")
    with pytest.raises(
        StudyError, match=r"saes/mid/0.50/cond/k4 holds no SAE that a record names: run `concepts train`"
    ):
        here.sae()
    own, shared = put_sae(study, "trained", 0), put_sae(study, "shared", 1)
    assert here.has("trained") and here.has("shared") and not here.has("frozen")
    assert torch.equal(here.sae().W_dec, own.W_dec) and torch.equal(here.sae("shared").W_dec, shared.W_dec)
    assert torch.equal(load_sae(here.folder_of("shared")).W_dec, shared.W_dec)


def test_everything_of_a_site_is_done_on_its_device(study, monkeypatch):
    put_sae(study, "trained", 0)
    moved = []
    monkeypatch.setattr(devices, "device_of", lambda study, site: "the site's")
    monkeypatch.setattr(TopKSAE, "to", lambda self, device: moved.append(device) or self)
    here = study.at(SITE, 4)
    sae = here.sae()
    next(here.codes(sae, "style"))
    assert here.device == "the site's" and moved == ["the site's", "the site's"]


def test_with_several_gpus_sites_take_turns_unless_a_device_is_named(study, monkeypatch):
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices.torch.cuda, "device_count", lambda: 2)
    model = study.config.model.model_copy(update={"device": "auto"})
    auto = Study(study.root, study.config.model_copy(update={"model": model}), "hash")
    sites = study.config.sites_list()
    assert [auto.at(site).device for site in sites] == [f"cuda:{i % 2}" for i in range(len(sites))] and len(sites) > 2
    named = model.model_copy(update={"device": "cpu"})
    fixed = Study(study.root, study.config.model_copy(update={"model": named}), "hash")
    assert {fixed.at(site).device for site in sites} == {"cpu"}
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: False)
    assert {auto.at(site).device for site in sites} == {"cpu"}


@pytest.mark.parametrize("kind", ["trained", "shared", "untrained"])
def test_concept_vectors_are_those_of_the_whole_sae_and_are_compared_with_the_record(study, kind):
    sae = put_sae(study, kind, 3)
    here = study.at(SITE, 4)
    assert np.array_equal(here.vectors(kind), sae.concept_vectors().detach().numpy())
    assert np.array_equal(here.vectors(kind), here.sae(kind).concept_vectors().numpy())
    assert here.cosines(1, kind) == pytest.approx(here.vectors(kind) @ here.vectors(kind)[1], abs=1e-6)
    x = torch.randn(20, sae.d, generator=torch.Generator().manual_seed(0))
    for mine, whole in zip(here.encoder(kind).encode(x.numpy()), sae.encode(x), strict=True):
        assert np.allclose(np.sort(mine), whole.sort().values.detach().numpy(), atol=1e-6)
    weights = here.folder_of(kind) / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    for read in (here.vectors, here.sae, here.encoder, lambda kind: here.cosines(1, kind)):
        with pytest.raises(SAEError, match=r"^\S*sae_weights.safetensors is damaged [^:]*: run `concepts repair`"):
            read(kind)
    with pytest.raises(StudyError, match="holds no SAE that a record names"):
        study.at(("mid", 1.0, "cond"), 4).vectors(kind)
