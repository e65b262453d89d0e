"""Words are embedded without the rest of the model, and once for all dictionaries of a study."""

import numpy as np
import pytest

from diffusion import model as diffusion_model
from diffusion.model import embed_labels, load_model
from storage.errors import AtlasError
from study import embedder
from study.config import load_config
from study.embedder import Meanings, label_vectors, prepared_vectors
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


def test_vectors_are_centred_unless_the_settings_take_them_as_they_are(study, tmp_path, monkeypatch):
    vectors = np.array([[3.0, 4.0], [0.0, 2.0], [6.0, 8.0]])
    monkeypatch.setattr(embedder, "label_vectors", lambda study, labels: vectors[: len(labels)])
    raw = Study(str(tmp_path), load_config(ROOT / "configs" / "tiny.yaml", ["labels.centred=false"]), "hash")
    assert prepared_vectors(raw, ["a", "b", "c"]) == pytest.approx(np.array([[0.6, 0.8], [0.0, 1.0], [0.6, 0.8]]))
    moved = vectors - vectors.mean(0)
    centred = moved / np.sqrt((moved**2).sum(1, keepdims=True))
    assert prepared_vectors(study, ["a", "b", "c"]) == pytest.approx(centred)
    assert prepared_vectors(raw, []).shape == (0, 1)


@pytest.mark.parametrize("centred", [True, False])
def test_words_are_compared_with_labels_where_the_labels_are_centred(tmp_path, centred):
    """By cosines written out, of a query that is no label: the mean is the labels' alone."""
    words = {"a": (3.0, 4.0), "b": (0.0, 2.0), "c": (6.0, 8.5), "asked": (1.0, 5.0)}
    lines = [f"{len(words)} 2", *(f"{word} {x} {y}" for word, (x, y) in words.items())]
    (tmp_path / "vectors.txt").write_text("\n".join(lines) + "\n")
    settings = ["labels.embedder=word2vec", f"labels.word2vec_path={tmp_path / 'vectors.txt'}"]
    config = load_config(ROOT / "configs" / "tiny.yaml", [*settings, f"labels.centred={str(centred).lower()}"])
    mean = np.mean([words[label] for label in "abc"], axis=0) if centred else np.zeros(2)
    asked = np.array(words["asked"]) - mean
    cosines = {}
    for label in "abc":
        vector = np.array(words[label]) - mean
        cosines[label] = float(vector @ asked / np.linalg.norm(vector) / np.linalg.norm(asked))
    order = sorted(cosines, key=lambda label: -cosines[label])
    found = Meanings(config, ["a", "b", "c"]).nearest("asked", 2)
    assert [label for label, _ in found] == order[:2] == (["b", "a"] if centred else ["b", "c"])
    assert [cosine for _, cosine in found] == pytest.approx([cosines[label] for label in order[:2]], abs=1e-6)
    assert Meanings(config, []).nearest("asked", 2) == []


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
