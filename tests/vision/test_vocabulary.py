"""Vocabulary files, captions' words, calibrated thresholds and the taggers that use them."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from vision.backend import load_backend
from vision.clip import Scorer
from vision.errors import VisionError
from vision.settings import VisionSettings
from vision.tag_thresholds import best_threshold, fit_thresholds, presence_from_captions
from vision.taggers import CaptionTagger
from vision.types import Tag
from vision.vocabulary import normal, read_vocabulary, vocabulary_of, write_vocabulary


def test_a_file_is_read_with_thresholds_comments_and_blank_lines(tmp_path):
    path = tmp_path / "words.tsv"
    lines = ["\ufeff# my words", "tree\t0.25\r", "", " hot   dog ", "Ｆｌｏｗｅｒ\t 1e-3", "狗", "c++"]
    lines += ["рыба (река)\t1", "   # end", "new\u2028line", ""]
    text = "\n".join(lines)
    path.write_bytes(text.encode())
    found = read_vocabulary(path)
    assert found.labels == ("tree", "hot dog", "Flower", "狗", "c++", "рыба (река)", "new line")
    assert found.thresholds == (0.25, None, 0.001, None, None, 1.0, None)
    again = tmp_path / "again.tsv"
    write_vocabulary(again, found.labels, found.thresholds)
    assert read_vocabulary(again) == found and read_vocabulary(again).digest == found.digest
    write_vocabulary(again, found.labels, [None] * 7)
    assert read_vocabulary(again).digest != found.digest


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"tree\ncar\nTree \n", "lines 1 and 3 are both 'Tree': remove one"),
        ("ﬁr\nfir".encode(), "lines 1 and 2 are both 'fir'"),
        (b"", "has no label"),
        (b"\n# only\n \n", "has no label"),
        (b"tree\tmuch\n", "line 1: the threshold 'much' is not a number in"),
        (b"car\ntree\tnan\n", "line 2: the threshold 'nan'"),
        (b"tree\t1.5\n", "line 1"),
        (b"tree\t0.5\t0.5\n", "line 1"),
        (b"\t0.5\n", "line 1: the label is blank"),
        ("tree\né".encode("latin-1"), r"is not UTF-8 \(byte 5\)"),
        (None, "cannot be read .* give a text file"),
    ],
)
def test_a_bad_file_is_refused_naming_file_and_line(tmp_path, content, says):
    path = tmp_path / "words.tsv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VisionError, match=f"{path}.*{says}"):
        read_vocabulary(path)


def test_labels_in_line_follow_the_same_rules():
    group = {"backend": "transformers", "transformers": {}}
    assert vocabulary_of(VisionSettings(**group, vocabulary=(" hot  dog", "tree"))).labels == ("hot dog", "tree")
    for labels, says in ((("a", "b", "A"), "labels 1 and 3"), (("a", " "), "label 2 is blank")):
        with pytest.raises(VisionError, match=says):
            vocabulary_of(VisionSettings(**group, vocabulary=labels))


@pytest.mark.parametrize("label", ["# hash", " a", "", "a\tb", "a\nb"])
def test_labels_that_a_file_cannot_hold_are_not_written(tmp_path, label):
    with pytest.raises(VisionError, match="cannot be written"):
        write_vocabulary(tmp_path / "w", [label], [None])
    assert not (tmp_path / "w").exists()


@examples(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1, max_size=8).map(normal), st.none() | st.floats(0, 1)), min_size=1))
def test_whatever_is_written_is_read_back(tmp_path_factory, entries):
    labels, thresholds = zip(*entries, strict=True)
    path = tmp_path_factory.mktemp("words") / "w.tsv"
    try:
        write_vocabulary(path, labels, thresholds)
    except VisionError:
        return
    found = read_vocabulary(path)
    assert (found.labels, found.thresholds) == (labels, thresholds)


@examples(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0]), st.booleans()), min_size=1, max_size=12))
def test_threshold_is_the_best_of_all_cuts(pairs):
    scores, present = np.array([s for s, _ in pairs]), np.array([p for _, p in pairs])
    if not present.any():
        with pytest.raises(ValueError, match="at least one positive"):
            best_threshold(scores, present)
        return

    def f1(cut):
        predicted = [s >= cut for s, _ in pairs]
        hits = sum(a and p for a, (_, p) in zip(predicted, pairs, strict=True))
        return 2 * hits / (sum(predicted) + present.sum())

    best = max(f1(cut) for cut in np.linspace(0, 1, 101))  # every way of deciding, and many twice
    threshold, reached = best_threshold(scores, present)
    assert reached == pytest.approx(best) and f1(threshold) == pytest.approx(best)


def test_a_label_of_few_positives_keeps_the_global_threshold():
    scores = np.array([[0.9, 0.9], [0.8, 0.1], [0.1, 0.2], [0.2, 0.3]])
    present = np.array([[1, 1], [1, 0], [0, 0], [0, 0]], bool)
    tree, car = fit_thresholds(scores, present, ["tree", "car"], min_positives=2)
    assert (tree.threshold, tree.f1, tree.positives) == (0.8, 1.0, 2)
    assert (car.threshold, car.f1, car.positives) == (None, None, 1)
    assert fit_thresholds(scores, present & False, ["tree", "car"], min_positives=0)[0].threshold is None
    for bad in (scores * np.nan, scores + 1):
        with pytest.raises(VisionError, match="NaN or values outside"):
            fit_thresholds(bad, present, ["tree", "car"])
    with pytest.raises(VisionError, match=r"scores \[4, 2\] and presence \[4, 2\] must both be \[images, 1 labels\]"):
        fit_thresholds(scores, present, ["tree"])


def test_presence_comes_from_captions():
    captions = ["Two cats on a mat", "一只狗", "a dog"]
    assert presence_from_captions(captions, ["cat", "狗", "dog"]).astype(int).tolist() == [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
    ]
    assert presence_from_captions([], ["cat"]).shape == (0, 1)


def test_caption_tagger_matches_whole_words_and_plurals():
    tagger = CaptionTagger(("car", "bus", "tree"))
    tags = tagger.tag([None] * 3, ["Cars and buses", "a carpet", "a tree."])
    assert [[t.label for t in of_image] for of_image in tags] == [["car", "bus"], [], ["tree"]]


def test_fixed_tagger_names_every_word_for_every_image(settings, images):
    backend = load_backend(settings(tagger="fixed", vocabulary=("tree", "hot dog")))
    assert backend.tagger.tag(images, [""] * 3) == [[Tag("tree", 1.0), Tag("hot dog", 1.0)]] * 3


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_scores_equal_the_librarys_own_pass_and_batches_change_nothing(paths, group, images, kind):
    scorer = Scorer(group(clip=paths[kind], batch_size=2), "clip")
    labels = ["tree", "hot dog", "car"]
    found = scorer.probabilities(images, labels)
    pixels = scorer.loaded.processor(images=images, return_tensors="pt")
    texts = [f"a photo of a {label}" for label in labels]
    padding = {"padding": True} if kind == "clip" else {"padding": "max_length", "max_length": 64}
    tokens = scorer.loaded.tokenizer(texts, return_tensors="pt", **padding)
    given = {"input_ids": tokens["input_ids"]}
    if kind == "clip":
        given["attention_mask"] = tokens["attention_mask"]
    with torch.no_grad():
        logits = scorer.loaded.model(**given, **pixels).logits_per_image
    expected = logits.softmax(1) if kind == "clip" else logits.sigmoid()
    assert np.allclose(found, expected.numpy(), atol=1e-5)
    assert found.shape == (3, 3) and scorer.probabilities([], labels).shape == (0, 3)


def test_features_of_texts_are_computed_once(paths, group, images):
    scorer = Scorer(group(), "clip")
    calls = []
    own = scorer.loaded.model.get_text_features
    scorer.loaded.model.get_text_features = lambda **given: calls.append(len(given["input_ids"])) or own(**given)
    for _ in range(3):
        scorer.probabilities(images, ["tree", "car"])
    scorer.probabilities(images, ["tree", "sun"])
    assert calls == [2, 1]


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_zero_shot_tags_reach_their_own_thresholds(paths, group, images, tmp_path, kind):
    labels = ("tree", "car", "sun", "boat")
    scores = Scorer(group(clip=paths[kind]), "clip").probabilities(images, labels).astype(float)
    cut = float(np.median(scores[:, 0]))
    path = tmp_path / "words.tsv"
    write_vocabulary(path, labels, [cut, 0.0, 1.0, None])
    given = group(clip=paths[kind], tagger="zero-shot", tag_score=float(np.median(scores[:, 3])))
    backend = load_backend(VisionSettings(backend="transformers", transformers=given, vocabulary_file=str(path)))
    least = dict(zip(labels, [cut, 0.0, 1.0, given.tag_score], strict=True))
    for row, tags in zip(scores, backend.tagger.tag(images, [""] * 3), strict=True):
        expected = {label: s for label, s in zip(labels, row, strict=True) if s >= least[label] - 1e-7}
        assert {t.label: pytest.approx(t.score, abs=1e-6) for t in tags} == expected
        assert all(a.score >= b.score for a, b in itertools.pairwise(tags))


def test_a_text_too_long_for_the_encoder_is_refused(paths, settings, group, images):
    long = " ".join(["tree"] * 300)
    with pytest.raises(
        VisionError, match=r"label 'tree tree .* is 30\d tokens to vision.transformers.clip .* at most 77"
    ):
        load_backend(settings(tagger="zero-shot", vocabulary=("car", long)))
    with pytest.raises(VisionError, match=r"detector .* at most 253"):
        load_backend(settings(vocabulary=("car", long)))
    with pytest.raises(VisionError, match="at most 64"):
        Scorer(group(clip=paths["siglip"]), "clip").learn([long])
    with pytest.raises(VisionError, match=r"judge_clipseg .* at most 77"):
        load_backend(settings()).judge.object_map(images, long)
