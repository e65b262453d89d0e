"""Seconds an image of the labelling's two costly stages, detect and segment, at their full size with random weights.

    python -m benchmarks.vision [--detector swin-t|none] [--segmenter vit-h|vit-b|sam2-l|none]
        [--batch 1] [--images 1] [--boxes 8] [--labels 12] [--size 512] [--dtype float32] [--rounds 1] [--threads 2]

Random weights cost what trained ones cost; what they find means nothing, so detect's thresholds are out of the way and
segment is given boxes. Runs on a GPU if torch sees one, else on ``--threads`` CPU threads. Several ``--batch`` are
measured in turn. Times exclude the loading; with several rounds or on a GPU, a first batch warms up.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import (
    BertTokenizerFast,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    Sam2Config,
    Sam2Model,
    SamConfig,
    SamImageProcessorPil,
    SamModel,
)

from vision.detectors import GroundingDino
from vision.loading import Loaded, resolve_device
from vision.segmenters import BoxSegmenter, Sam, Sam2
from vision.settings import TransformersSettings
from vision.types import Box, Tag

SWIN_T = {
    "model_type": "swin",
    "embed_dim": 96,
    "depths": [2, 2, 6, 2],
    "num_heads": [3, 6, 12, 24],
    "window_size": 7,
    "image_size": 224,
    "out_features": ["stage2", "stage3", "stage4"],
}
VIT_H = {
    "hidden_size": 1280,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "global_attn_indexes": [7, 15, 23, 31],
    "mlp_dim": 5120,
}
HIERA_L = {
    "hidden_size": 144,
    "num_attention_heads": 2,
    "blocks_per_stage": [2, 6, 36, 4],
    "embed_dim_per_stage": [144, 288, 576, 1152],
    "num_attention_heads_per_stage": [2, 4, 8, 16],
    "window_size_per_stage": [8, 4, 16, 8],
    "global_attention_blocks": [23, 33, 43],
}
BERT_SIZE = 30522
LABELS = [f"label{i}" for i in range(200)]  # each one token, as most nouns are


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", default="swin-t", choices=["swin-t", "none"])
    parser.add_argument("--segmenter", default="vit-h", choices=["vit-h", "vit-b", "sam2-l", "none"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--images", type=int, default=1, help="of each round; at least the batch is taken")
    parser.add_argument("--boxes", type=int, default=8, help="boxes an image")
    parser.add_argument("--labels", type=int, default=12, help="tags an image")
    parser.add_argument("--size", type=int, default=512, help="side of the images in pixels")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    where = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {options.threads} threads"
    print(f"torch {torch.__version__}, {where}, {options.dtype}, {options.size} px")
    if options.detector != "none":
        _measure(f"detect, Grounding DINO {options.detector}", detector, options, device)
    if options.segmenter != "none":
        _measure(f"segment, {options.segmenter}", segmenter, options, device)


def detector(options: argparse.Namespace, settings: TransformersSettings) -> Callable[[list[np.ndarray]], Any]:
    """Grounding DINO of the published Swin-T architecture; detects ``options.labels`` labels in each image."""
    words = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LABELS]
    words += [f"[unused{i}]" for i in range(99, 99 + 1012 - len(words))] + ["."]
    words += [f"[filler{i}]" for i in range(BERT_SIZE - len(words))]
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(words)})
    model = GroundingDinoForObjectDetection(GroundingDinoConfig(backbone_config=SWIN_T))
    dino = GroundingDino(
        _loaded("grounding-dino", model, settings, GroundingDinoImageProcessorPil(), tokenizer), settings
    )
    tags = [Tag(label, 1.0) for label in LABELS[: options.labels]]
    return lambda images: dino.detect(images, [tags] * len(images))


def segmenter(options: argparse.Namespace, settings: TransformersSettings) -> Callable[[list[np.ndarray]], Any]:
    """SAM or SAM 2 of a published architecture; segments ``options.boxes`` boxes in each image."""
    sam: BoxSegmenter
    if options.segmenter == "sam2-l":
        vision = {"backbone_config": {"model_type": "sam2_hiera_det_model", **HIERA_L}}
        vision["backbone_channel_list"] = HIERA_L["embed_dim_per_stage"][::-1]  # type: ignore[index]
        sam = Sam2(_loaded("sam2", Sam2Model(Sam2Config(vision_config=vision)), settings), settings)
    else:
        config = SamConfig(vision_config=VIT_H) if options.segmenter == "vit-h" else SamConfig()
        sam = Sam(_loaded("sam", SamModel(config), settings, SamImageProcessorPil()), settings)
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, options.size, (options.boxes, 2, 2)), axis=1).reshape(-1, 4)
    boxes = [Box(f"label{n}", 1.0, 1.0, tuple(xyxy)) for n, xyxy in enumerate(corners.tolist())]
    return lambda images: sam.segment(images, [boxes] * len(images))


def _loaded(
    kind: str, model: Any, settings: TransformersSettings, processor: Any = None, tokenizer: Any = None
) -> Loaded:
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{kind}: {parameters / 1e6:.0f} million parameters, {4 * parameters / 1e9:.2f} GB in float32")
    return Loaded(kind, kind, model.eval().to(resolve_device(settings.device)), processor, tokenizer)


def _measure(stage: str, build: Callable[..., Any], options: argparse.Namespace, device: str) -> None:
    rng = np.random.default_rng(0)
    for batch in options.batch:
        settings = TransformersSettings(device=device, dtype=options.dtype, batch_size=batch, mask_score=0.0)
        run = build(options, settings)
        count = max(batch, options.images)
        images = list(rng.integers(0, 256, (count, options.size, options.size, 3)).astype(np.uint8))
        if options.rounds > 1 or device == "cuda":
            run(images[:batch])
        times = [_timed(run, images, device) for _ in range(options.rounds)]
        wall, cpu = (statistics.median(taken) / count for taken in zip(*times, strict=True))
        print(
            f"{stage}, batch {batch}: {wall:.2f} s an image ({cpu:.2f} s of CPU time), "
            f"peak memory {_peak(device):.2f} GB"
        )


def _timed(run: Callable[..., Any], images: list[np.ndarray], device: str) -> tuple[float, float]:
    """Seconds by the clock, and of CPU time over all threads: the latter tells more on a shared machine."""
    started, cpu_started = time.perf_counter(), time.process_time()
    run(images)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, time.process_time() - cpu_started


def _peak(device: str) -> float:
    """GB: of the GPU's tensors, or of the whole process, which never falls again."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
