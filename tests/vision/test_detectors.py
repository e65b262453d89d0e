"""Detectors: tag spans, chunks, batches equal to single images, and suppression against brute force."""

import numpy as np
import pytest
import torch

from tests.vision.tiny_models import WORDS
from vision.detectors import load_detector
from vision.errors import VisionError
from vision.types import Tag

KINDS = ["detector", "mm_detector", "owlv2"]


def tags_of(*labels):
    return [Tag(label, 1.0) for label in labels]


@pytest.mark.parametrize("kind", KINDS)
def test_batched_equals_single(paths, group, images, kind):
    """Prompts of three lengths are padded to one; images of two shapes never share a batch."""
    other = np.random.default_rng(3).integers(0, 256, (130, 90, 3)).astype(np.uint8)
    mixed = [images[0], other, images[1], images[2], other[::-1].copy()]
    tags = [tags_of("tree"), tags_of("hot dog", "car"), tags_of("zoo", "hot dog", "sun"), [], tags_of("boat")]
    together = load_detector(group(detector=paths[kind], batch_size=5)).detect(mixed, tags)
    single = load_detector(group(detector=paths[kind], batch_size=1))
    for image, of_image, found in zip(mixed, tags, together, strict=True):
        (alone,) = single.detect([image], [of_image])
        assert len(found) == len(alone) and bool(found) == bool(of_image)
        by_place = [sorted(boxes, key=lambda b: (b.label, b.xyxy)) for boxes in (found, alone)]
        for a, b in zip(*by_place, strict=True):
            assert a.label == b.label and a.score == pytest.approx(b.score, abs=1e-5)
            assert np.allclose(a.xyxy, b.xyxy, atol=1e-3)


@pytest.mark.parametrize("kind", ["detector", "mm_detector"])
def test_each_tag_is_scored_on_its_own_tokens(paths, group, kind):
    dino = load_detector(group(detector=paths[kind]))
    ids, spans = dino.prompt(tags_of("hot dog", "zoo", "car"))
    tokenizer = dino.loaded.tokenizer
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert [tokens[a:b] for a, b in spans] == [["hot", "dog"], ["z", "##o", "##o"], ["car"]]
    assert ids == tokenizer("hot dog. zoo. car.").input_ids
    # A label's own dots and question marks would end its phrase.
    assert dino.prompt(tags_of("hot. dog?", "car"))[0] == tokenizer("hot dog. car.").input_ids


def test_scores_and_boxes_are_the_models_own(paths, group, images):
    dino = load_detector(group(detector=paths["detector"], max_box=1.0))
    (found,) = dino.detect(images[:1], [tags_of("hot dog", "car")])
    pixels = dino.loaded.processor(images=images[0], return_tensors="pt")
    text = dino.loaded.tokenizer("hot dog. car.", return_tensors="pt")
    with torch.no_grad():
        output = dino.loaded.model(**pixels, **text)
    scores = output.logits[0].sigmoid()
    expected = {"hot dog": scores[:, 1:3].amax(1), "car": scores[:, 4]}
    for label, of_queries in expected.items():
        assert sorted(b.score for b in found if b.label == label) == pytest.approx(
            sorted(of_queries.tolist()), abs=1e-5
        )
    cx, cy, w, h = output.pred_boxes[0][expected["car"].argmax()].tolist()
    best = max((b for b in found if b.label == "car"), key=lambda b: b.score)
    corners = [(cx - w / 2) * 150, (cy - h / 2) * 100, (cx + w / 2) * 150, (cy + h / 2) * 100]
    assert np.allclose(best.xyxy, np.clip(corners, 0, [150, 100, 150, 100]), atol=1e-3)


def test_owlv2_equals_its_own_forward_pass(paths, group, images):
    """Text and image are encoded apart here; the library's one pass over both must say the same."""
    owl = load_detector(group(detector=paths["owlv2"], max_box=1.0))
    (found,) = owl.detect(images[:1], [tags_of("tree", "hot dog")])
    pixels = owl.loaded.processor(images=images[0], return_tensors="pt")
    text = owl.loaded.tokenizer(["a photo of a tree", "a photo of a hot dog"], padding=True, return_tensors="pt")
    with torch.no_grad():
        output = owl.loaded.model(**pixels, **text)
    (reference,) = owl.loaded.processor.post_process_object_detection(output, 0.0, [(100, 150)])
    clipped = np.clip(reference["boxes"].double().numpy(), 0, [150, 100, 150, 100])
    expected = [
        (score, corners)
        for score, corners in zip(reference["scores"].tolist(), clipped.tolist(), strict=True)
        if _area(corners) > 1  # thinner ones end on either side of the image's border
    ]
    best: dict = {}
    for box in found:
        best[box.xyxy] = max(box.score, best.get(box.xyxy, 0.0))
    known = sorted((score, corners) for corners, score in best.items() if _area(corners) > 1)
    assert len(known) == len(expected) > 3
    for (score, corners), (known_score, known_corners) in zip(sorted(expected), known, strict=True):
        assert np.allclose(corners, known_corners, atol=1e-3) and score == pytest.approx(known_score, rel=1e-3)


def _area(corners):
    return (corners[2] - corners[0]) * (corners[3] - corners[1])


@pytest.mark.parametrize("kind", ["detector", "mm_detector"])
def test_long_tag_lists_are_chunked_and_lose_nothing(paths, group, images, kind):
    dino = load_detector(group(detector=paths[kind], batch_size=4, max_box=1.0))
    tags = tags_of(*(f"{a} {b}" for a in WORDS for b in WORDS))
    chunks = dino.chunks(tags)
    assert [t for chunk in chunks for t in chunk] == tags and len(chunks) == 2
    lengths = [len(dino.prompt(chunk)[0]) for chunk in chunks]
    assert max(lengths) <= 256 and lengths[0] + 3 > 256  # as few prompts as fit
    (found,) = dino.detect(images[:1], [tags])
    assert {b.label for b in found} == {t.label for t in tags}
    (alone,) = dino.detect(images[:1], [chunks[1]])
    of_second = [b for b in found if b.label in {t.label for t in chunks[1]}]
    assert [b.label for b in of_second] and len(of_second) == len(alone)
    assert sorted(b.score for b in of_second) == pytest.approx(sorted(b.score for b in alone), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_that_cannot_be_read_whole_are_refused(paths, group, images, kind):
    detector = load_detector(group(detector=paths[kind]))
    long = " ".join(["tree"] * 300)
    for run in (lambda: detector.check(["car", long]), lambda: detector.detect(images[:1], [tags_of(long)])):
        with pytest.raises(VisionError, match=r"label 'tree tree .* is 30\d tokens .* at most (253|16): shorten"):
            run()


def test_labels_in_an_unknown_script_are_refused_by_name(paths, group):
    dino = load_detector(group(detector=paths["detector"]))
    dino.check(["tree 树"])  # known in part
    for label in ("树", "дерево", "...", ""):
        with pytest.raises(VisionError, match=f"label '{label}' has no token"):
            dino.check([label])
