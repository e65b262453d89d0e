"""Devices by slot: what is held by whom, that everything of a unit follows, and that no hash does."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from diffusion.errors import DiffusionError
from study import models, slots
from study.config import load_config
from study.devices import refuse_absent
from study.errors import StudyError
from study.slots import Slots, on_a_device, own_devices, placed
from study.stages import STAGES
from study.study import Study
from tasks.runner import Runner, started_runner
from tests.paths import ROOT

OTHER = ["vision.backend=transformers", "vision.mini=null", "vision.vocabulary=[tree, night]"]
VISION = [
    *OTHER,
    "vision.transformers={tagger: fixed, device: cuda, judge_clip: x, judge_clipseg: x}",
]


def config(*settings, run=""):
    return load_config(ROOT / "configs" / "tiny.yaml", [f"run={{torch_threads: 1{run}}}", *settings])


def study(*settings, run=""):
    return Study("nowhere", config(*settings, run=run), "hash")


@pytest.fixture(autouse=True)
def no_gpu_is_made_the_present_one(monkeypatch):
    monkeypatch.setattr(slots, "_current", lambda _device: threading.Lock())


def test_units_side_by_side_hold_a_device_each_and_the_rest_wait():
    devices, held, most, lock = Slots(("a", "b", "b")), [], [], threading.Lock()
    full = threading.Barrier(3, timeout=10)

    def unit(number):
        with devices.held() as device:
            with lock:
                held.append(device)
                most.append(sorted(held))
            if number < 3:
                full.wait()
            with lock:
                held.remove(device)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(unit, range(40)))
    assert max(most, key=len) == ["a", "b", "b"]
    assert all(one.count("a") <= 1 and one.count("b") <= 2 for one in most)


def test_a_device_is_free_again_when_its_unit_fails_and_the_latest_comes_first():
    devices = Slots(("a", "b"))
    with devices.held() as first, devices.held() as second:
        assert (first, second) == ("a", "b")
    held = []

    def fails():
        with devices.held() as device:
            held.append(device)
            return 1 / 0

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            fails()
    assert held == ["a", "a", "a"]  # it was freed last


def test_everything_of_a_unit_is_on_its_device_and_no_hash_follows_it():
    mine = study(*VISION, run=", devices: [cuda:0, cuda:1]")
    before = {stage: mine.hash_of(stage) for stage in STAGES}
    assert before == {stage: study(*VISION).hash_of(stage) for stage in STAGES}
    with on_a_device(mine) as one, on_a_device(mine) as other:
        for here, device in ((one, "cuda:0"), (other, "cuda:1")):
            assert (here.config.model.device, here.config.vision.transformers.device) == (device, device)
            assert {stage: here.hash_of(stage) for stage in STAGES} == before
            assert (here.root, here.config_hash) == (mine.root, mine.config_hash)
    with on_a_device(study(*VISION)) as here:
        assert here.config == study(*VISION).config


def test_a_worker_of_a_local_cluster_has_the_device_of_its_number():
    devices = ("cuda:0", "cuda:1")
    assert own_devices(devices, None) == devices
    assert [own_devices(devices, name) for name in (0, "1", 2)] == [("cuda:0",), ("cuda:1",), ("cuda:0",)]
    assert own_devices((), "tcp://127.0.0.1:4000") == ()


def test_as_many_units_run_at_once_as_devices_are_named():
    settings = config(run=", devices: [cpu, cpu, cpu]").run
    assert settings.at_once == 3 and config(run=", max_workers: 4").run.at_once == 4
    with started_runner(settings) as threads:
        assert threads._max_workers == 3
    assert Runner(settings).slots() == 3


def test_each_device_keeps_its_models_and_those_of_other_settings_are_dropped(monkeypatch):
    monkeypatch.setattr("diffusion.model.load_model", lambda settings: object())
    monkeypatch.setattr("diffusion.model.check_blocks", lambda *_: None)
    monkeypatch.setattr("vision.backend.load_backend", lambda settings: object())
    monkeypatch.setattr(models, "_idle", {})
    monkeypatch.setattr(models, "_backends", {})
    mine = study(*VISION)
    here, there = (replace(mine, config=placed(mine.config, device)) for device in ("cuda:0", "cuda:1"))

    def loaded(of):
        with models.borrowed_model(of) as model:
            return model, models.backend_of(of)

    first, second = loaded(here), loaded(there)
    assert not set(first) & set(second)
    assert loaded(here) == first and loaded(there) == second
    other = study(*OTHER, "model.dtype=bfloat16", VISION[-1].replace("}", ", batch_size: 2}"))
    loaded(replace(other, config=placed(other.config, "cuda:0")))
    assert not set(loaded(here)) & set(first)


def test_what_cannot_be_a_list_of_devices_is_refused():
    for named, says in {
        "[auto]": "run.devices names 'auto': name devices",
        "[cuda:0, cpu]": "run.devices names cpu and cuda, which differ in the last bits",
    }.items():
        with pytest.raises(StudyError, match=says):
            config(run=f", devices: {named}")
    with pytest.raises(DiffusionError) as refused:
        refuse_absent(config(run=", devices: [cpu, 'cpu:7x']"))
    assert "run.devices 'cpu:7x' cannot be used on this machine" in str(refused.value)
    assert "'cpu'" in str(refused.value) and "'auto'" not in str(refused.value)
    refuse_absent(config(run=", devices: [cpu, cpu]"))
