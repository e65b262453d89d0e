"""Which concepts stand for a style at other times: those nearest in embedding to what was picked at one time."""

import json

import pytest

from study.config import load_config
from study.errors import StudyError
from study.study import Study
from tasks.directions import own_cids, target_cids
from tasks.transfer import embeddings_of
from tests.parts import add_part, label_row
from tests.paths import ROOT

EMBEDDINGS = {  # t -> of each CID; 1.0 is where concepts are picked
    1.0: [[1.0, 0.0], [0.0, 1.0], None, [1.0, 2.0]],
    0.0: [[0.1, 5.0], None, [3.0, 0.1], [0.0, 0.0], [0.9, -0.1]],
}


def concept(t, cid, embedding):
    row = {"block": "mid", "t": t, "conditioning": "cond", "k": 4, "cid": cid, "alive": True, "density": 0.1}
    row |= {"act_mean": 1.0, "act_max": 1.0, "n_images": 1, "decoder_norm": 1.0, "init_cosine": 0.3}
    return row | {"embedding": embedding}


@pytest.fixture
def study_of(tmp_path):
    def make(*settings):
        return Study(str(tmp_path), load_config(ROOT / "configs" / "tiny.yaml", settings), "hash")

    rows = [concept(t, cid, e) for t, all_of in EMBEDDINGS.items() for cid, e in enumerate(all_of)]
    add_part(tmp_path, "concepts", "a", rows)
    labels = [label_row(cid, 0.9 - cid / 10, label="night") for cid in (3, 2)]
    labels += [
        label_row(1, 0.1, label="night"),
        label_row(0, 0.5, label="night", t=0.0),
        label_row(1, 0.5),
        label_row(4, 0.5, t=0.0),
    ]
    add_part(tmp_path, "concept_labels", "a", labels)
    return make


def found(study, target, t):
    return target_cids(study.at(("mid", t, "cond"), 4), target)


def test_without_a_time_to_pick_at_every_time_has_its_own(study_of):
    study = study_of()
    assert found(study, "night", 1.0) == [2, 3] and found(study, "night", 0.0) == [0]


def test_a_style_is_carried_over_by_the_most_similar_embedding(study_of):
    study = study_of("interventions.transfer_from=1.0")
    assert found(study, "night", 1.0) == [2, 3]
    assert found(study, "night", 0.0) == [0]  # of (1, 2); 2 has no embedding, and there is none of length 0
    assert found(study, "tree", 0.0) == [4]  # an object has its own at every time


@pytest.mark.parametrize(("picked", "there"), [([0], [2]), ([1], [0]), ([1, 0], [0, 2]), ([1, 3], [0]), ([2], [])])
def test_concepts_picked_by_hand_come_before_those_of_the_label(study_of, picked, there):
    given = "interventions.style_cids=" + json.dumps({"night": picked})
    study = study_of("interventions.transfer_from=1.0", given)
    assert found(study, "night", 1.0) == picked and found(study, "night", 0.0) == there


def test_a_picked_concept_that_is_not_there_is_one_sentence(study_of):
    study = study_of("interventions.transfer_from=1.0", "interventions.style_cids={night: [0, 9]}")
    with pytest.raises(StudyError, match=r"style_cids.night: there is no concept 9 at mid/1.00/cond, which has 4"):
        found(study, "night", 0.0)


def test_controls_and_all_of_a_list(study_of):
    study = study_of("interventions.carriers=all", "interventions.transfer_from=1.0")
    here = study.at(("mid", 0.0, "cond"), 4)
    assert own_cids(study.at(("mid", 1.0, "cond"), 4), "night") == [2, 3]  # a style has its best: 1 lists it no less
    assert own_cids(here, "tree") == [4] and target_cids(here, "night", "untrained") == []
    assert embeddings_of(here)[1] is None is embeddings_of(here)[3] and list(embeddings_of(here)[0]) == pytest.approx(
        [0.1, 5.0]
    )
