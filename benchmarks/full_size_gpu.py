"""What only a GPU can show: recording at speed, the trainer's kernels, the vision models and edits, each checked.

Called by ``python -m benchmarks.full_size --device cuda``. Every part prints its figures and returns what is wrong.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import sae_kernels, sae_peers, vision
from diffusion.edits import Edit
from diffusion.model import DiffusionModel, load_model
from diffusion.sampling import Samples, SitesToRecord, sample
from diffusion.settings import ModelSettings, SamplingSettings
from sae.kernels import work_on
from sae.members import Member, Stack
from sae.settings import SAESettings
from sae.step import TrainState, train_step
from vision.settings import TransformersSettings

BLOCKS = {
    "down": "down_blocks.2.attentions.1",
    "mid": "mid_block.attentions.0",
    "up": "up_blocks.1.attentions.0",
}
TIMES = (1.0, 0.5, 0.0)
SAMPLING = SamplingSettings(steps=10, guidance_scale=7.5, batch_size=16)
BATCH, ROUNDS = 16, 3
CAPTIONS = [f"a tree and a house , number {i}" for i in range(BATCH)]
SEEDS = list(range(BATCH))
LEAST_COSINE = {"float16": 0.9999, "bfloat16": 0.999}  # bfloat16 has 8 bits of mantissa
LEAST_SHARED = 0.95
MOST_ROUNDING = 0.05  # float16 has 11 bits, and the block's output is many times its update


@dataclass(frozen=True)
class Subject:
    """A model folder, blocks, a device and the precision of its edits: the miniature on a CPU in the tests."""

    folder: Path
    blocks: dict[str, str] = field(default_factory=lambda: dict(BLOCKS))
    device: str = "cuda"
    edited_in: str = "float16"

    def model(self, dtype: Any) -> DiffusionModel:
        """The model in that precision."""
        return load_model(ModelSettings(path=str(self.folder), device=self.device, dtype=dtype))

    @property
    def record(self) -> SitesToRecord:
        """All blocks at three times."""
        return SitesToRecord(self.blocks, TIMES)


def check_gpu(model: Path, peers: Path | None = None) -> list[str]:
    """Run every part; what is wrong, empty if nothing is."""
    problems: list[str] = []
    on_gpu = Subject(model)
    for part in (recording, edits, trainer, kernels, vision_models):
        started = time.perf_counter()
        problems += part(on_gpu)
        torch.cuda.empty_cache()
        print(f"  ({time.perf_counter() - started:.0f} s)", flush=True)
    time_peer(peers)
    return problems


def recording(subject: Subject) -> list[str]:
    """Images a second with and without recording, in both half precisions; the recorded values against float32's."""
    problems = []
    exact = _sampled(subject.model("float32"), 2, subject.record).activations
    for dtype in LEAST_COSINE:
        model = subject.model(dtype)
        seconds, plain = timed(lambda m=model: _sampled(m, BATCH), subject.device)
        with_record, recorded = timed(lambda m=model: _sampled(m, BATCH, subject.record), subject.device)
        size = sum(array.nbytes for array in recorded.activations.values())
        print(
            f"collect, {dtype}: {BATCH / with_record:.2f} images/s of {SAMPLING.steps} steps recorded, "
            f"{BATCH / seconds:.2f} without: {with_record / seconds:.3f} times the time, "
            f"{size / with_record / 1e9:.2f} GB/s"
        )
        if not np.array_equal(plain.images, recorded.images):
            problems.append(f"{dtype}: recording changes the images")
        for site in exact:
            if site[1] == 1.0:  # later steps have drifted apart by their rounding
                found = cosine(exact[site], recorded.activations[site][:2])
                if found < LEAST_COSINE[dtype]:
                    problems.append(f"{dtype}: activations at {site} have cosine {found:.5f} with float32's")
    return problems


def edits(subject: Subject) -> list[str]:
    """An edit of nothing changes no bit; a vector that is added is found in the recorded cond half, and there alone."""
    model, cond, uncond = subject.model(subject.edited_in), ("mid", 1.0, "cond"), ("mid", 1.0, "uncond")
    before = _sampled(model, 2, subject.record)
    nothing = _sampled(model, 2, subject.record, [_edit(subject, lambda delta: delta)])
    size = float(np.abs(before.activations[cond].astype(np.float32)).mean())
    added = _sampled(model, 2, subject.record, [_edit(subject, lambda delta: delta + size)])
    problems = []
    if not np.array_equal(before.images, nothing.images):
        problems.append("edits: an edit of nothing changes the images")
    if np.array_equal(before.images, added.images):
        problems.append("edits: adding a vector changes no image")
    change = added.activations[cond].astype(np.float32) - before.activations[cond].astype(np.float32)
    largest = float(np.abs(change / size - 1).max())
    print(f"edits: what was recorded is what was added, {size:.3f} in every channel, to within {100 * largest:.1f} %")
    if largest > MOST_ROUNDING:
        problems.append(f"edits: the recorded change is up to {100 * largest:.0f} % off what was added")
    if not np.array_equal(before.activations[uncond], added.activations[uncond]):
        problems.append("edits: the uncond half of the edited step changed")
    return problems


def _edit(subject: Subject, change: Callable[[Tensor], Tensor]) -> Edit:
    return Edit(subject.blocks["mid"], 0.6, 1.0, lambda delta, t: change(delta))


def trainer(subject: Subject) -> list[str]:
    """Ten float32 steps on the device against the same on the CPU, in which no kernel of ours takes part."""
    x_ND = sae_peers.synthetic_vectors(256, 10 * 1024)
    settings = SAESettings(k=(10,), batch_size=1024)

    def trained(device: str) -> list[Tensor]:
        state = TrainState(Stack(256, [Member(10, 1024, 0)], device), settings)
        for batch in x_ND.split(1024):
            train_step(state, batch.to(device), settings, 1e-3)
        return [parameter.detach().cpu() for parameter in state.stack.parameters()]

    pairs = zip(trained("cpu"), trained(subject.device), strict=True)
    apart = max(float((a - b).norm() / a.norm().clamp(min=1e-12)) for a, b in pairs)
    print(f"trainer: after ten steps parameters are {apart:.1e} apart between CPU and {subject.device}, relative")
    return [f"trainer: parameters are {apart:.1e} apart"] if apart > 1e-2 else []


def kernels(subject: Subject) -> list[str]:
    """The sparse kernels and the step beside torch's operations: values, then times."""
    if not work_on(torch.device(subject.device, torch.cuda.current_device())):
        return ["kernels: Triton's kernels do not run on this GPU (pip install triton, and see the warning above)"]
    problems = []
    options = argparse.Namespace(d=1280, rounds=10)
    for n, k in sae_kernels.SIZES:
        for name, job in sae_kernels.operations(1280, n, k).items():
            ours, torchs = job(), sae_kernels.without_kernels(job)()
            if not torch.allclose(ours, torchs, rtol=1e-4, atol=1e-3):
                problems.append(f"kernels: {name} at n={n} differs by {float((ours - torchs).abs().max()):.2e}")
            fast, slow = sae_kernels.in_turn([job, sae_kernels.without_kernels(job)], options.rounds)
            print(f"kernels, n={n}: {name} {fast:.3f} ms, torch {slow:.3f} ms: {slow / fast:.1f} times as fast")
        for precision in ("float32", "bfloat16"):
            sae_kernels.step_beside_product(options, n, k, precision)
    return problems


def time_peer(environments: Path | None) -> None:
    """Our step and that of sparsify, the fastest peer on a CPU, each in its own process, on the same batches."""
    if environments is None:
        print("peer: not timed; --peers FOLDER names the environments that benchmarks/peers/setup.sh makes")
        return
    options = sae_peers.parser().parse_args([str(environments), "--device", "cuda", "--steps", "40"])
    with tempfile.TemporaryDirectory() as folder:
        train, held_out = sae_peers.write_data(options, Path(folder))
        for name in ("concept-atlas, bfloat16", "concept-atlas, float32", "sparsify"):
            result = sae_peers.run_one(name, train, held_out, Path(folder) / "result.json", options)
            print(f"peer: {name}: {result['ms_per_step']:.2f} ms a step")


def vision_models(subject: Subject) -> list[str]:
    """Grounding DINO Swin-T and SAM ViT-H: equal to the CPU in float32, and their time in bfloat16."""
    problems = []
    image = np.random.default_rng(0).integers(0, 256, (512, 512, 3)).astype(np.uint8)
    options = argparse.Namespace(labels=12, boxes=8, size=512, segmenter="vit-h")
    for name, build, within, numbers in (
        ("Grounding DINO", vision.detector, 1.0, lambda box: list(box.xyxy)),  # pixels
        ("SAM", vision.segmenter, 0.01, lambda segment: [float(segment.mask.mean())]),  # share of the image
    ):
        seen = {}
        for device in ("cpu", subject.device):
            torch.manual_seed(0)  # the same random weights
            run = build(options, TransformersSettings(device=device, box_score=0.0, mask_score=0.0, min_area=0.0))
            seen[device] = [(found.label, numbers(found)) for found in run([image])[0]]
        alike = shared(seen["cpu"], seen[subject.device], within)
        if alike < LEAST_SHARED:
            problems.append(f"{name}: only {100 * alike:.1f} % of what the CPU finds in float32 is found on the GPU")
        torch.manual_seed(0)
        fast = build(
            options, TransformersSettings(device=subject.device, dtype="bfloat16", batch_size=4, mask_score=0.0)
        )
        seconds, _ = timed(lambda run=fast: run([image] * 4), subject.device)
        print(f"{name}: {seconds / 4:.3f} s an image in bfloat16, four at once")
        print(f"  {100 * alike:.1f} % of the {len(seen['cpu'])} things the CPU finds in float32 are found")
    return problems


def shared(first: list[tuple[str, list[float]]], second: list[tuple[str, list[float]]], within: float) -> float:
    """Share of the first's findings that the second has too: the same label, and every number as near as ``within``.

    With random weights thousands of queries score almost alike, and which of them are the best 900 hangs on last bits:
    a few may differ on any two devices.
    """
    there: dict[str, list[list[float]]] = {}
    for label, numbers in second:
        there.setdefault(label, []).append(numbers)
    found = [
        label in there and bool((np.abs(np.array(there[label]) - numbers).max(1) <= within).any())
        for label, numbers in first
    ]
    return sum(found) / max(len(found), 1)


def _sampled(
    model: DiffusionModel, count: int, record: SitesToRecord | None = None, changes: list[Edit] | None = None
) -> Samples:
    return sample(model, CAPTIONS[:count], SEEDS[:count], SAMPLING, record, changes or [])


def timed(job: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Median seconds of several runs after one that does not count, and the last run's result."""
    result, times = job(), []
    for _ in range(ROUNDS):
        _wait_for(device)
        started = time.perf_counter()
        result = job()
        _wait_for(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times), result


def _wait_for(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of two arrays as vectors."""
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
