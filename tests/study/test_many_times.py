"""Layouts at many times and several k take a configuration and nothing else."""

from diffusion.times import step_of_time
from study.config import load_config
from study.stages import STAGES
from study.study import Study
from tests.paths import ROOT

TIMES = [1.0, 0.93, 0.87, 0.8, 0.67, 0.5, 0.4, 0.33, 0.2, 0.13, 0.0]  # near steps of the demo's sixteen


def test_each_time_and_k_is_a_unit_of_its_own_at_a_step_of_its_own(tmp_path):
    config = load_config(ROOT / "configs" / "mini.yaml", [f"sites.times={TIMES}", "sae.k=[5, 10, 20]"])
    units = STAGES["layout"].units(Study(str(tmp_path), config, "hash"))
    assert len(units) == 3 * 2 * len(TIMES) * 3
    assert len({step_of_time(t, config.sampling.steps) for t in TIMES}) == len(TIMES) >= 10
    found = {(given["site"].t, given["k"]) for given in units.values()}
    assert found == {(t, k) for t in TIMES for k in (5, 10, 20)}


def test_attention_is_sampled_once_for_all_of_them_and_only_if_it_is_asked_for(tmp_path):
    def attended(*overrides):
        config = load_config(ROOT / "configs" / "mini.yaml", [f"sites.times={TIMES}", *overrides])
        return list(STAGES["attend"].units(Study(str(tmp_path), config, "hash")))

    assert attended() == []
    assert attended("layout.attention=true") == [f"{shard:06d}" for shard in range(8, 18)]
