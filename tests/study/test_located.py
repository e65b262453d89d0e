"""Where edits are made: named blocks, the only one, or those that a trace found; and what follows from which."""

import pytest

from storage.records import write_record
from study.config import load_config
from study.errors import StudyError
from study.hashes import changed_stages, stage_hashes
from study.located import block_shown, blocks_of
from study.study import Study
from study.units import located_kinds
from tests.paths import ROOT

CONFIG = ROOT / "configs" / "tiny.yaml"
TRACED = ["interventions.block=traced"]


def study_of(root, settings):
    return Study(str(root), load_config(CONFIG, settings), "hash")


@pytest.mark.parametrize(
    ("settings", "spatial", "looks", "left"),
    [
        ([], ("mid",), ("mid",), []),
        (["interventions.global_block=[mid, up]"], ("mid",), ("mid", "up"), []),
        (TRACED, None, None, ["spatial", "global"]),
        ([*TRACED, "interventions.global_block=up"], None, ("up",), ["spatial"]),
        (["interventions.spatial_block=traced"], None, ("mid",), ["spatial"]),
        ([*TRACED, "interventions.styles=[]"], None, None, ["spatial"]),
    ],
)
def test_named_blocks_are_taken_and_the_others_asked_of_the_trace(tmp_path, settings, spatial, looks, left):
    study = study_of(tmp_path, settings)
    assert list(located_kinds(study)) == left
    for kind, named in (("spatial", spatial), ("global", looks)):
        if named is None:
            with pytest.raises(StudyError, match=rf"which block {kind} edits .*: run `concepts intervene` first"):
                blocks_of(study, kind)
            write_record(tmp_path, "locate", kind, {"blocks": ["up"]}, "hash")
        assert blocks_of(study, kind) == (named or ("up",))
    assert block_shown(study) == (spatial or ("up",))[0]


def test_of_one_block_nothing_is_to_be_chosen(tmp_path):
    one = ["sites.blocks={mid: mid_block.attentions.0}", *TRACED]
    study = study_of(tmp_path, one)
    assert located_kinds(study) == {} and blocks_of(study, "global") == ("mid",)
    assert block_shown(study_of(tmp_path, [*TRACED, "interventions.objects=[]"])) == "mid"


def test_edits_follow_from_a_trace_only_where_it_chooses():
    named, traced = load_config(CONFIG), load_config(CONFIG, TRACED)
    more = "atlas.trace_prompts=7"
    edits = {"calibrate", "intervene"}
    assert not edits & set(changed_stages(named, load_config(CONFIG, [more])))
    assert edits < set(changed_stages(traced, load_config(CONFIG, [*TRACED, more])))
    assert stage_hashes(named)["calibrate"] != stage_hashes(traced)["calibrate"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["interventions.global_block=[mid, traced]"], r"interventions.global_block: 'traced' stands alone or not at"),
        (["sites.blocks={traced: mid_block.attentions.0}"], r"sites.blocks: 'traced' is taken, by edits whose blocks"),
        (["interventions.block=mud"], r"interventions.block is 'mud', which sites.blocks does not name"),
    ],
)
def test_what_cannot_be_is_refused(settings, said):
    with pytest.raises(StudyError, match=said):
        load_config(CONFIG, settings)
