"""Segmenters: against one plain pass of the model, padding bit for bit, batches, chunks and a thousand boxes."""

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from vision.nms import mask_iou, merge_masks
from vision.segmenters import NO_BOX, load_segmenter
from vision.types import Box, Segment

KINDS = ["segmenter", "sam2"]
A, B, C = (
    Box("tree", 0.9, 1.0, (8.0, 8.0, 60.0, 80.0)),
    Box("car", 0.8, 1.0, (50.0, 20.0, 120.0, 100.0)),
    Box("sun", 0.7, 1.0, (0.0, 20.0, 12.5, 100.0)),
)


def by_label(segments):
    return {s.label: s for s in segments}


@pytest.mark.parametrize("kind", KINDS)
def test_padded_boxes_equal_unpadded_bit_for_bit(paths, group, images, kind):
    sam = load_segmenter(group(segmenter=paths[kind]))
    with torch.inference_mode():
        embeddings = sam.encode(images[:1])
    real = [A, B, C, B]
    plain, scores = sam.decode(sam.rows_of(embeddings, [0]), images[:1], [real])
    dummies = [Box("", 0, 0, NO_BOX)] * 9
    padded, padded_scores = sam.decode(sam.rows_of(embeddings, [0]), images[:1], [[*real, *dummies]])
    assert padded.shape[1] == 13 and plain.shape[1] == 4
    assert torch.equal(plain[0], padded[0, :4]) and np.array_equal(scores[0], padded_scores[0, :4])
    alone, alone_score = sam.decode(sam.rows_of(embeddings, [0]), images[:1], [[A]])
    assert torch.equal(alone[0, 0], plain[0, 0]) and alone_score[0, 0] == scores[0, 0]
    # The same through the batch: the image with one box is padded to the other's six.
    with torch.inference_mode():
        pair = sam.encode([images[0], images[0]])
    both, both_scores = sam.decode(sam.rows_of(pair, [0, 1]), [images[0]] * 2, [[A], [A, B, C, C, B, B]])
    assert torch.equal(both[0, 0], both[1, 0]) and both_scores[0, 0] == both_scores[1, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_batches_and_chunks_equal_one_box_at_a_time(paths, group, images, kind):
    other = np.random.default_rng(3).integers(0, 256, (130, 90, 3)).astype(np.uint8)
    batch, boxes = [images[0], other, images[1], images[2]], [[A, B, C], [A], [], [B, A]]
    together = load_segmenter(group(segmenter=paths[kind], batch_size=4, boxes_at_once=2)).segment(batch, boxes)
    single = load_segmenter(group(segmenter=paths[kind]))
    assert [sorted(by_label(s)) for s in together] == [["car", "sun", "tree"], ["tree"], [], ["car", "tree"]]
    for image, of_image, found in zip(batch, boxes, together, strict=True):
        for box in of_image:
            ((alone,),) = single.segment([image], [[box]])
            same = by_label(found)[box.label]
            assert mask_iou(alone.mask, same.mask) > 0.999
            assert alone.mask_score == pytest.approx(same.mask_score, abs=1e-5)
            assert (same.box_score, same.xyxy) == (box.score, box.xyxy)


def test_sam_equals_a_plain_pass_of_the_library(paths, group, images):
    sam = load_segmenter(group(segmenter=paths["segmenter"]))
    ((found,),) = sam.segment(images[:1], [[A]])
    processor, model = sam.loaded.processor, sam.loaded.model
    inputs = processor(images=images[0], return_tensors="pt")
    assert inputs["reshaped_input_sizes"].tolist() == [[43, 64]]
    scale = torch.tensor([64 / 150, 43 / 100, 64 / 150, 43 / 100])
    with torch.no_grad():
        output = model(
            pixel_values=inputs["pixel_values"], input_boxes=torch.tensor([[A.xyxy]]) * scale, multimask_output=False
        )
    masks = processor.post_process_masks(output.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"])
    assert mask_iou(masks[0][0, 0].numpy(), found.mask) > 0.999 and found.mask.any()
    assert found.mask_score == pytest.approx(output.iou_scores[0, 0, 0].item(), abs=1e-6)


def test_sam2_equals_a_plain_pass_of_the_library(paths, group, images):
    sam = load_segmenter(group(segmenter=paths["sam2"]))
    ((found,),) = sam.segment(images[:1], [[A]])
    square = np.asarray(PilImage.fromarray(images[0]).resize((64, 64), PilImage.Resampling.BILINEAR)) / 255
    pixels = (square - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    x0, y0, x1, y1 = A.xyxy
    box = torch.tensor([[[x0 * 64 / 150, y0 * 64 / 100, x1 * 64 / 150, y1 * 64 / 100]]])
    with torch.no_grad():
        output = sam.loaded.model(
            pixel_values=torch.tensor(pixels.transpose(2, 0, 1)[None], dtype=torch.float32),
            input_boxes=box,
            multimask_output=False,
        )
    mask = torch.nn.functional.interpolate(output.pred_masks[0], (100, 150), mode="bilinear")[0, 0] > 0
    assert mask_iou(mask.numpy(), found.mask) > 0.999 and found.mask.any()
    assert found.mask_score == pytest.approx(output.iou_scores[0, 0, 0].item(), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_boxes_are_decoded_in_bounded_chunks(paths, group, images, kind):
    sam = load_segmenter(group(segmenter=paths[kind], boxes_at_once=64))
    counts = []
    forward = sam.loaded.model.mask_decoder.forward
    sam.loaded.model.mask_decoder.forward = lambda **given: (
        counts.append(given["sparse_prompt_embeddings"].shape[1]) or forward(**given)
    )
    boxes = [
        Box(f"label {i}", 1.0, 1.0, (float(i % 50), float(i // 50), float(i % 50 + 40), float(i // 50 + 30)))
        for i in range(1000)
    ]
    (found,) = sam.segment(images[:1], [boxes])
    assert max(counts) == 64 and sum(counts) == 1000
    assert len({s.label for s in found}) == 1000


def test_thresholds_and_empty_masks(paths, group, images):
    assert load_segmenter(group(mask_score=0.81)).segment(images[:1], [[A, B]]) == [[]]
    assert load_segmenter(group(min_area=0.99)).segment(images[:1], [[A, B]]) == [[]]
    sam = load_segmenter(group())
    sam.masks = lambda logits, image: np.zeros((len(logits), 100, 150), bool)
    assert sam.segment(images[:1], [[A, B]]) == [[]]


def test_merging_looks_only_at_namesakes_and_lets_overlaps_of_others_stand():
    rng = np.random.default_rng(0)
    base = rng.random((20, 20)) < 0.5
    near = base.copy()
    near[0] = True
    make = [Segment(label, mask, 1, 1, score, (0, 0, 1, 1)) for label, mask, score in
            (("cat", base, 0.9), ("cat", near, 0.8), ("dog", base, 0.7))]  # fmt: skip
    merged = merge_masks(make, mask_iou(base, near) - 1e-9)
    assert [s.label for s in merged] == ["cat", "dog"] and np.array_equal(merged[0].mask, base | near)
    assert len(merge_masks(make, mask_iou(base, near))) == 3
