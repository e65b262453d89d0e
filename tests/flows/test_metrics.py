"""What a run serves for Prometheus, read over HTTP, and the dashboard that asks for it."""

import json
import re
import socket
from types import SimpleNamespace

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from flows import metrics
from flows.metrics import measured, refuse_taken_port
from study.config import load_config
from study.errors import StudyError
from study.study import Study
from tasks import progress
from tasks.progress import StageProgress
from tests.paths import ROOT
from tests.ports import free_port


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The tiny study with a store of 1,000 bytes, whose metrics are asked for; no Prefect server is told anything."""
    for name in ("create_progress_artifact", "update_progress_artifact"):
        monkeypatch.setattr(progress, name, lambda *_, **__: None)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "part").write_bytes(b"x" * 1000)
    config = load_config(ROOT / "configs" / "tiny.yaml", [f"run.metrics_port={free_port()}"])
    return Study(str(tmp_path), config, "hash")


def read(study):
    """(metric, labels but the study's) -> value."""
    text = httpx.get(f"http://127.0.0.1:{study.config.run.metrics_port}/metrics", trust_env=False).text
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("study") == "tiny"
            found[sample.name, *labels.values()] = sample.value
    return {key: value for key, value in found.items() if not key[0].endswith("_created")}


def test_a_run_serves_what_it_has_done_and_has_to_do(study, monkeypatch):
    torch = SimpleNamespace(is_initialized=lambda: True, device_count=lambda: 1, memory_allocated=lambda _device: 77)
    monkeypatch.setitem(metrics.sys.modules, "torch", SimpleNamespace(cuda=torch))
    with measured(study, {"collect": (2, 7), "train": (0, 4)}), measured(study, {"collect": (2, 7)}):
        stage = StageProgress("collect", 2, 7, "tiny")
        stage.step({"shard": 2, "prompts": 8})
        stage.step({"already_done": ["00003"]})
        StageProgress("tag", 0, 4, "tiny").step({"prompts": 5})  # samples nothing
        stage.fail()
        assert read(study) == {
            ("concepts_units_done", "collect"): 4, ("concepts_units_left", "collect"): 3,
            ("concepts_units_done", "train"): 0, ("concepts_units_left", "train"): 4,
            ("concepts_units_done", "tag"): 1, ("concepts_units_left", "tag"): 3,
            ("concepts_units_failed_total", "collect"): 1, ("concepts_units_failed_total", "train"): 0,
            ("concepts_images_sampled_total",): 8,
            ("concepts_store_bytes", "tables"): 1000,
            ("concepts_gpu_memory_bytes", "cuda:0"): 77,
        }  # fmt: skip
    with pytest.raises(httpx.ConnectError):
        read(study)
    with measured(study, {}):  # the port is free again
        assert ("concepts_images_sampled_total",) in read(study)


def test_it_listens_on_loopback_alone(study, monkeypatch):
    import prometheus_client

    asked, original = [], prometheus_client.start_http_server

    def start(port, addr, registry):
        asked.append(addr)
        return original(port, addr=addr, registry=registry)

    monkeypatch.setattr(prometheus_client, "start_http_server", start)
    with measured(study, {}):
        assert asked == ["127.0.0.1"]


def test_a_port_in_use_is_one_sentence_and_none_asks_for_nothing(study):
    refuse_taken_port(None)
    with socket.create_server(("127.0.0.1", study.config.run.metrics_port)):
        for refused in (lambda: refuse_taken_port(study.config.run.metrics_port), measured(study, {}).__enter__):
            with pytest.raises(StudyError, match=f"run.metrics_port: port {study.config.run.metrics_port} "):
                refused()
    refuse_taken_port(study.config.run.metrics_port)


def test_without_a_port_nothing_is_served(study, monkeypatch):
    import prometheus_client

    monkeypatch.setattr(prometheus_client, "start_http_server", None)
    off = Study(study.root, load_config(ROOT / "configs" / "tiny.yaml"), "hash")
    with measured(off, {"collect": (0, 7)}):
        assert metrics._serving == []


def test_the_dashboard_asks_for_every_metric_and_for_no_other(study, monkeypatch):
    monkeypatch.setattr(metrics, "gpu_memory", lambda: {"cuda:0": 1})
    dashboard = json.loads((ROOT / "deploy" / "grafana.json").read_text())
    asked = set(re.findall(r"concepts_\w+", json.dumps(dashboard)))
    with measured(study, {"collect": (0, 7)}):
        assert asked == {key[0] for key in read(study)}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"]) == 6
