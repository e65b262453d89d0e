"""The former settings that today's are timed against."""

from benchmarks.leaving_the_start import FORMER
from benchmarks.train_time import former_settings
from study.config import load_config
from tests.paths import ROOT


def test_the_command_line_makes_the_former_settings_and_touches_no_other():
    path = ROOT / "configs" / "mini.yaml"
    now, former = load_config(path), load_config(path, former_settings())
    assert {**now.sae.model_dump(), **FORMER, "controls": ()} == former.sae.model_dump()
    assert now.model_copy(update={"sae": former.sae}) == former
