"""Every control that the tiny study trains goes all the way: weights, labels and layouts of its own."""

from itertools import islice

import numpy as np
import pytest
import torch

from concepts.layout import METHODS as PREDICTIONS
from concepts.layout_rows import BASELINES
from sae.io import load_sae
from storage.activations import ActivationStore
from storage.query import query
from storage.tables import read_table
from study.opening import recorded_study
from study.saes import FROZEN_ENCODER, HELD, TRAINED, UNTRAINED
from tasks.layout import Predictor, sources

pytestmark = pytest.mark.system
ALONE = {"position", "position_given", "noise", "noise_neighbours", "raw", "attention"}


@pytest.fixture(scope="module")
def study(tiny_study):
    return recorded_study(tiny_study)


def test_labelling_and_layout_have_rows_of_every_control(study):
    for here in (study.at(site, 4) for site in study.config.sites_list()):
        counted = read_table(study.root, "label_controls", ["kind", "n_alive"], here.filters).to_pylist()
        assert {row["kind"] for row in counted if row["n_alive"]} > {TRAINED, UNTRAINED, *HELD}
        scores = read_table(study.root, "layout_scores", filters=here.filters).to_pylist()
        labels = {row["label"] for row in scores}
        assert len(labels) > 2
        for kind in (TRAINED, UNTRAINED, *HELD):
            found = [(row["label"], row["method"]) for row in scores if row["kind"] == kind]
            own = {(label, method) for label, method in found if " - " not in method}
            methods = {*PREDICTIONS, *(ALONE if kind == TRAINED else ())}
            assert own == {(label, method) for label in labels for method in methods} and len(found) == len(set(found))
            differences = {method for label, method in found if " - " in method and label.startswith("*")}
            assert differences == {f"{a} - {b}" for a in methods for b in BASELINES if a != b}


@pytest.mark.parametrize("kind", [TRAINED, UNTRAINED, *HELD])
def test_a_layout_is_predicted_from_the_codes_and_the_labels_of_its_own_kind(study, tiny_study, kind):
    """Evidence by plain loops: the SAE's file, the raw activations, the precision that the table has of the kind."""
    here = study.at(("mid", 0.0, "cond"), 4)
    folder = here.folder if kind == TRAINED else here.folder / "k4" / kind
    sae = load_sae(folder / "k4" if kind == TRAINED else folder)
    vectors = ActivationStore.open(tiny_study)
    sql = f"from concept_labels where block = 'mid' and t = 0 and k = 4 and kind = '{kind}'"
    precision = {(row["cid"], row["label"]): row["precision"] for row in query(tiny_study, sql).to_pylist()}
    for one in islice(Predictor(here, kind).scored("layout"), 5):
        x_CD = torch.from_numpy(vectors.read(here.site, one.prompt_id, one.prompt_id + 1)[0].astype(np.float32))
        values, latents = (found.tolist() for found in sae.encode(x_CD.reshape(-1, sae.d)))
        for cell, (strengths, cids) in enumerate(zip(values, latents, strict=True)):
            met = [precision.get((cid, one.label), 0.0) for cid in cids]
            expected = sum(a * b for a, b in zip(strengths, met, strict=True)) / max(sum(strengths), 1e-12)
            assert one.evidence_C[cell] == pytest.approx(expected, abs=1e-5)


def test_a_frozen_encoder_has_the_rows_of_the_untrained_sae_whose_codes_it_gives(study):
    """Worked out apart they agree, so that once is enough: but for roundings their codes are the same."""
    for here in (study.at(site, 4) for site in study.config.sites_list()):
        assert sources(here) == {kind: kind for kind in (TRAINED, UNTRAINED, *HELD)} | {FROZEN_ENCODER: UNTRAINED}
        pairs = zip(
            Predictor(here, UNTRAINED).scored("layout"), Predictor(here, FROZEN_ENCODER).scored("layout"), strict=True
        )
        for one, other in pairs:
            assert (one.prompt_id, one.label) == (other.prompt_id, other.label)
            assert other.evidence_C == pytest.approx(one.evidence_C, abs=1e-4)
            assert other.concepts_C == pytest.approx(one.concepts_C, abs=1e-3)


def test_what_a_control_holds_is_as_it_was_drawn(study):
    """The untrained SAE is the start of all of them: which part of it stands, and how far another may have gone."""
    for site in study.config.sites_list():
        here = study.at(site, 4)
        start, trained, frozen, soft, encoder = (here.sae(kind) for kind in (UNTRAINED, TRAINED, *HELD))
        gone = {name: _cosine(sae, start) for name, sae in (("trained", trained), ("soft", soft), ("encoder", encoder))}
        assert torch.allclose(frozen.W_dec, start.W_dec, atol=1e-6) and not torch.equal(frozen.W_enc, start.W_enc)
        assert torch.equal(encoder.W_enc, start.W_enc) and torch.equal(encoder.b_dec, start.b_dec)
        assert gone["soft"] > 0.8 - 1e-5 and gone["trained"] < 0.999 and gone["encoder"] < 0.999


def _cosine(sae, start):
    """The least, over concepts."""
    return float(torch.nn.functional.cosine_similarity(sae.W_dec, start.W_dec).min())
