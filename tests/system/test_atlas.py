"""`concepts trace` and `atlas` on a tiny study: tables, pictures, resume, the same bits again; blocks by a trace."""

import shutil

import pytest

from storage.inspect import table_hashes
from storage.tables import read_table
from study.status import status
from study.verify import verify

pytestmark = pytest.mark.system
CONFIG = "configs/tiny.yaml"
TABLES = ("causal_traces", "temporal_atlas", "temporal_onsets", "concept_causes")
SMALL = [
    "atlas.prompts=3",
    "atlas.onsets=3",
    "atlas.length=0.3",
    "atlas.trace_prompts=1",
    "atlas.trace_depth=2",
    "atlas.cause_prompts=2",
    "atlas.cause_directions=2",
]
SET = [part for one in SMALL for part in ("--set", one)]


@pytest.mark.slow(60)
def test_it_is_made_on_its_own_resumed_and_the_same_again(copy, launch):
    assert not any(read_table(copy, table).num_rows for table in TABLES)  # no part of the study
    assert launch("revise", CONFIG, "--root", str(copy), *SET).returncode == 0
    for command in ("trace", "atlas"):
        made = launch(command, CONFIG, "--root", str(copy), *SET)
        assert made.returncode == 0, made.stderr
    rows = {table: read_table(copy, table).to_pylist() for table in TABLES}
    assert {row["method"] for row in rows["causal_traces"]} == {"switch", "patch"}
    everything = [row for row in rows["causal_traces"] if (row["blocks"], row["window"]) == ("*", "all")]
    switched = [row for row in everything if row["method"] == "switch"]
    assert switched and all(row["effect"] == pytest.approx(row["ceiling"], abs=0.02) for row in switched)
    controls = {row["control"] for row in rows["temporal_atlas"] if row["kind"] == "global"}
    assert controls == {"unedited", "none", "random_direction", "switched_prompt"}
    for picture in ("causal_traces", "detecting_and_causing", "temporal_atlas"):
        assert (copy / "figures" / f"{picture}.png").stat().st_size > 5000
    assert verify(copy) == [] and status(copy)["done"]["draw"] == 1

    hashes = table_hashes(copy)
    for command in ("trace", "atlas"):
        again = launch(command, CONFIG, "--root", str(copy), *SET)
        assert again.returncode == 0 and "nothing to do" in again.stdout
    for unit in ("onsets/global-night.json", "tau50", "trace/switch-global.json", "causes/global-early.json"):
        path = copy / "done" / unit
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for command in ("trace", "atlas"):
        assert launch(command, CONFIG, "--root", str(copy), *SET).returncode == 0
    assert table_hashes(copy) == hashes


@pytest.mark.slow(30)
def test_blocks_that_no_setting_names_are_those_that_a_trace_finds(copy, launch):
    left = ["interventions.block=traced", "interventions.objects=[tree, house]", "atlas.trace_prompts=2"]
    given = [CONFIG, "--root", str(copy), *(part for one in left for part in ("--set", one))]
    assert launch("revise", *given).returncode == 0
    made = launch("intervene", *given)
    assert made.returncode == 0, made.stderr
    rows = read_table(copy, "traced_blocks").to_pylist()
    for kind in ("spatial", "global"):
        of_kind = [row for row in rows if row["kind"] == kind]
        assert {row["blocks"] for row in of_kind if row["n_blocks"] == 1} == {"mid", "up"} and len(of_kind) == 3
        (chosen,) = [set(row["blocks"].split("+")) for row in of_kind if row["chosen"]]
        edited = read_table(copy, "interventions", ["block"], [("kind", "==", kind)]).column("block").to_pylist()
        assert edited and {frozenset(name.split("+")) for name in edited} == {frozenset(chosen)}
    assert verify(copy) == [] and "nothing to do" in launch("intervene", *given).stdout
