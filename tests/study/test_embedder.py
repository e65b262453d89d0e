"""Words are embedded without the rest of the model, and once for all dictionaries of a study."""

import numpy as np
import pytest

from diffusion import model as diffusion_model
from diffusion.model import embed_labels, load_model
from storage.errors import AtlasError
from study import embedder
from study.config import load_config
from study.embedder import label_vectors
from study.models import borrowed_model, release_models
from study.study import Study
from tests.paths import ROOT


@pytest.fixture
def study(tmp_path):
    embedder._by_text_encoder.cache_clear()
    return Study(str(tmp_path), load_config(ROOT / "configs" / "tiny.yaml"), "hash")


def test_only_the_text_encoder_is_loaded_and_once(study, monkeypatch):
    loaded, original = [], diffusion_model.load_part
    whole = embed_labels(load_model(study.config.model), ["tree", "hot dog"])

    def noted(kind, *given, **named):
        loaded.append(kind.__name__)
        return original(kind, *given, **named)

    monkeypatch.setattr(diffusion_model, "load_part", noted)
    for _ in range(2):
        assert np.array_equal(label_vectors(study, ["tree", "hot dog"]), whole)
    assert loaded == ["CLIPTextModel"]
    assert label_vectors(study, ["tree"]).shape == (1, whole.shape[1])


def test_a_damaged_folder_is_refused_as_for_sampling(study, tmp_path):
    given = study.config.model.model_copy(update={"path": str(tmp_path / "none")})
    lost = Study(study.root, study.config.model_copy(update={"model": given}), "hash")
    with pytest.raises(Exception, match="none is not a folder") as error:
        label_vectors(lost, ["tree"])
    assert isinstance(error.value, AtlasError)


def test_models_that_are_not_in_use_are_given_up(study):
    with borrowed_model(study) as first:
        release_models()  # this one is in use
    with borrowed_model(study) as again:
        assert again is first
    release_models()
    with borrowed_model(study) as other:
        assert other is not first
