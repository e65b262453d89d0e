"""How well the miniature does what its captions say, by two judges: ``python -m miniature.fidelity``.

Samples held-out captions as they come, one seed each, and asks the first judge what is on the images; the second judge,
of another make and trained on other scenes, says how far the first is to be believed. The same questions are put to the
drawn scenes of these captions after a round trip through the autoencoder: what falls short there is the judge's or the
autoencoder's doing, not the diffusion model's. Writes every figure with a 95 % interval over images to
``fidelity.json`` and the first 64 images, unselected, to a contact sheet.
"""

from __future__ import annotations

import argparse
import json
import re
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from concepts.intervals import cluster_interval
from diffusion.model import DiffusionModel, load_model
from diffusion.sampling import sample
from diffusion.settings import ModelSettings, SamplingSettings
from miniature.judges import Verdict, agreement, drawn_classes, judge
from miniature.prompts import FIRST_SCENE
from miniature.settings import OBJECTS
from miniature.train_vision import images_of
from miniature.truth import COLOURLESS, MIN_PX
from miniature.world import Scene, make_scene
from vision.mini_network import SceneNetwork

WEIGHTS = Path(__file__).with_name("weights")
DRAWN_FIRST = 60_000_000  # drawn scenes that neither judge was trained on
SHEET = 64
BINS = 4  # positions are compared on a 4 x 4 grid


def main(arguments: list[str] | None = None) -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--drawn", type=int, default=1000, help="drawn scenes that the judges are checked on")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("fidelity.json"))
    parser.add_argument("--sheet", type=Path, default=Path("docs/images/miniature.png"))
    parser.add_argument("--show", action="store_true", help="print the figures of --out and sample nothing")
    options = parser.parse_args(arguments)
    if not options.show:
        measure(options)
    print(render(json.loads(options.out.read_text(encoding="utf-8"))))


def measure(options: argparse.Namespace) -> None:
    """Sample, judge, and write the figures and the contact sheet."""
    judges = [SceneNetwork.load(options.weights / name) for name in ("scene-vision", "second-judge")]
    facts: dict[str, Any] = {"images": options.images, "steps": options.steps, "guidance": options.guidance}
    facts |= check_judges(judges, options.drawn)
    scenes = [make_scene(FIRST_SCENE + i) for i in range(options.images)]
    model = load_model(ModelSettings(path=str(options.weights / "sd-mini")))
    facts["on_drawn_scenes"] = follow(scenes, judge(judges[0], round_trip(model, scenes)))
    settings = SamplingSettings(steps=options.steps, guidance_scale=options.guidance, batch_size=16)
    images, facts["images_per_s"] = generate(model, settings, [s.caption for s in scenes])
    verdicts = [judge(network, images) for network in judges]
    facts |= follow(scenes, verdicts[0])
    facts |= second_opinion(verdicts)
    options.out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    contact_sheet([s.caption for s in scenes[:SHEET]], images[:SHEET]).save(options.sheet)


TARGETS = {
    "fidelity": "named objects, grounds and looks that are there",
    "fidelity_of_objects": "  objects",
    "fidelity_of_grounds": "  grounds",
    "fidelity_of_looks": "  looks (styles and skies)",
    "whole_captions": "captions of which all is there",
    "colour_binding": "objects in the colour that was named",
    "unasked_objects": "unnamed objects that are there all the same",
    "judges_agree_on_looks": "looks on which both judges agree",
}


def render(facts: dict[str, Any]) -> str:
    """The figures as a text table, shares in percent with their intervals; in brackets, of the drawn scenes."""
    drawn = facts["on_drawn_scenes"]
    rows = [
        (text, _percent(facts[name]) + (f"  [{100 * drawn[name]['value']:.1f} %]" if name in drawn else ""))
        for name, text in TARGETS.items()
    ]
    rows.append(("position entropy over that of drawn scenes", str(facts["position_entropy_of_the_worlds"])))
    rows.append(("mean IoU of both judges on generated images", f"{facts['judges_iou_on_generated']:.3f}"))
    for name, text in (("judge", "the judge"), ("second", "the second judge")):
        rows.append((f"{text} on drawn scenes: mean IoU", f"{facts[name]['mean_iou']:.3f}"))
        rows.append((f"{text} on drawn scenes: looks", _percent(facts[name]["looks"])))
        rows.append((f"{text} on drawn scenes: colours", _percent(facts[name]["colours"])))
    rows.append((f"images a second, {facts['steps']} steps", str(facts["images_per_s"])))
    width = max(len(text) for text, _ in rows)
    worst = sorted((entry["value"], name) for name, entry in facts["by_label"].items() if name[:6] == "object")[:5]
    listed = ", ".join(f"{name[7:]} {100 * value:.0f}" for value, name in worst)
    return "\n".join(f"{text:<{width}}  {value}" for text, value in rows) + f"\nobjects met least (percent): {listed}"


def _percent(entry: dict[str, Any]) -> str:
    if entry["low"] is None:
        return f"{100 * entry['value']:.1f} % (in every image, n = {entry['n']})"
    return f"{100 * entry['value']:.1f} % ({100 * entry['low']:.1f} to {100 * entry['high']:.1f}, n = {entry['n']})"


@torch.inference_mode()
def round_trip(model: DiffusionModel, scenes: list[Scene]) -> np.ndarray:
    """The drawn scenes as the autoencoder gives them back: uint8 [I, 64, 64, 3]."""
    found = []
    for i in range(0, len(scenes), 16):
        images = images_of(scenes[i : i + 16]) * 2 - 1
        decoded = model.vae.decode(model.vae.encode(images).latent_dist.mean).sample
        found.append(((decoded / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(found)


def generate(model: DiffusionModel, settings: SamplingSettings, captions: list[str]) -> tuple[np.ndarray, float]:
    """Images uint8 [I, 64, 64, 3] and how many a second were sampled."""
    started, found = time.time(), []
    for i in range(0, len(captions), settings.batch_size):
        batch = captions[i : i + settings.batch_size]
        found.append(sample(model, batch, list(range(i, i + len(batch))), settings).images)
    return np.concatenate(found), round(len(captions) / (time.time() - started), 2)


def check_judges(judges: list[SceneNetwork], count: int) -> dict[str, Any]:
    """Each judge on drawn scenes: mean IoU over labels, share of looks and of colours that it names rightly."""
    scenes = [make_scene(DRAWN_FIRST + i) for i in range(count)]
    images, truth = np.stack([s.image for s in scenes]), drawn_classes(scenes)
    facts: dict[str, Any] = {"drawn_scenes": count}
    for name, network in zip(("judge", "second"), judges, strict=False):
        verdict = judge(network, images)
        ious = agreement(verdict.classes, truth)
        looks = [Ask(i, "look", "", verdict.looks[i] == scene.look) for i, scene in enumerate(scenes)]
        colours = [
            Ask(i, "colour", str(item.colour), verdict.colour(i, item.name) == item.colour)
            for i, scene in enumerate(scenes)
            for item in scene.objects
            if item.colour and item.visible_px >= MIN_PX and scene.look not in COLOURLESS
        ]
        facts[name] = {
            "mean_iou": round(float(np.mean(list(ious.values()))), 4),
            "iou": {label: round(iou, 3) for label, iou in ious.items()},
            "looks": share(looks),
            "colours": share(colours),
        }
    return facts


@dataclass(frozen=True)
class Ask:
    """One thing that a caption names, and whether the judge finds it."""

    image: int
    kind: str
    label: str
    met: bool


def asks_of(image: int, scene: Scene, verdict: Verdict) -> Iterator[Ask]:
    """Objects and ground by their pixels, the look by name, colours of objects that are there and can show one."""
    for item in scene.objects:
        there = bool(verdict.mask(image, item.name).sum() >= MIN_PX)
        yield Ask(image, "object", item.name, there)
        named = item.colour is not None and re.search(rf"\b{item.colour} {item.name}\b", scene.caption)
        if named and there and scene.look not in COLOURLESS:
            yield Ask(image, "colour", str(item.colour), verdict.colour(image, item.name) == item.colour)
    yield Ask(image, "ground", scene.ground, bool(verdict.mask(image, scene.ground).sum() >= MIN_PX))
    if scene.look:
        yield Ask(image, "look", scene.look, verdict.looks[image] == scene.look)


def follow(scenes: list[Scene], verdict: Verdict) -> dict[str, Any]:
    """What the captions ask for against what the judge sees."""
    asks = [ask for i, scene in enumerate(scenes) for ask in asks_of(i, scene, verdict)]
    things = [ask for ask in asks if ask.kind != "colour"]
    met = dict.fromkeys(range(len(scenes)), True)
    for ask in things:
        met[ask.image] &= ask.met
    named = [{item.name for item in scene.objects} for scene in scenes]
    unasked = [
        Ask(i, "unasked", name, bool(verdict.mask(i, name).sum() >= MIN_PX))
        for i in range(len(scenes))
        for name in OBJECTS
        if name not in named[i]
    ]
    return {
        "fidelity": share(things),
        **{f"fidelity_of_{kind}s": share([a for a in asks if a.kind == kind]) for kind in ("object", "ground", "look")},
        "whole_captions": share([Ask(i, "caption", "", whole) for i, whole in met.items()]),
        "colour_binding": share([a for a in asks if a.kind == "colour"]),
        "unasked_objects": share(unasked),
        "plain_taken_for_a_look": share(
            [Ask(i, "plain", "", verdict.looks[i] is not None) for i, scene in enumerate(scenes) if scene.look is None]
        ),
        "position_entropy_of_the_worlds": position_entropy(scenes, verdict),
        "by_label": {
            f"{kind} {label}": share([a for a in asks if (a.kind, a.label) == (kind, label)])
            for kind, label in sorted({(a.kind, a.label) for a in asks})
        },
    }


def share(asks: list[Ask], samples: int = 2000) -> dict[str, float | None]:
    """Share met and its 95 % interval, whole images resampled; where all or none are met, the exact binomial bound."""
    if not asks:
        return {"value": None, "low": None, "high": None, "n": 0}
    values, rows = np.array([a.met for a in asks], float), np.array([a.image for a in asks])
    low, high = cluster_interval(values, rows.tolist(), samples, seed=0)
    ends = (None if np.isnan(end) else round(end, 4) for end in (low, high))
    return {"value": round(float(values.mean()), 4), **dict(zip(("low", "high"), ends, strict=True)), "n": len(asks)}


def position_entropy(scenes: list[Scene], verdict: Verdict) -> float | None:
    """Entropy of where objects lie on the generated images over that of the drawn scenes with the same captions.

    Cells of a 4 x 4 grid, the same objects counted on both sides, so that the bias of few samples is the same.
    """
    made, drawn = np.zeros((2, BINS * BINS))
    for i, scene in enumerate(scenes):
        for item in scene.objects:
            mask = verdict.mask(i, item.name)
            if mask.sum() >= MIN_PX and item.name in scene.masks:
                made[_bin(mask)] += 1
                drawn[_bin(scene.masks[item.name])] += 1
    return round(_entropy(made) / _entropy(drawn), 3) if made.any() else None


def _bin(mask: np.ndarray) -> int:
    rows, columns = np.nonzero(mask)
    return int(rows.mean() * BINS / 64) * BINS + int(columns.mean() * BINS / 64)


def _entropy(counts: np.ndarray) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def second_opinion(verdicts: list[Verdict]) -> dict[str, Any]:
    """How far two judges of different make agree on the generated images."""
    first, second = verdicts
    ious = agreement(first.classes, second.classes)
    looks = [Ask(i, "look", "", a == b) for i, (a, b) in enumerate(zip(first.looks, second.looks, strict=True))]
    return {
        "judges_iou_on_generated": round(float(np.mean(list(ious.values()))), 4),
        "judges_iou_by_label": {label: round(iou, 3) for label, iou in ious.items()},
        "judges_agree_on_pixels": round(float((first.classes == second.classes).mean()), 4),
        "judges_agree_on_looks": share(looks),
    }


def contact_sheet(captions: list[str], images: np.ndarray, columns: int = 8) -> Image.Image:
    """Images with their captions below, as they come."""
    side, text = 128, 40
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (side + 8), rows * (side + text)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=10)
    for number, (caption, image) in enumerate(zip(captions, images, strict=True)):
        x, y = (number % columns) * (side + 8) + 4, (number // columns) * (side + text)
        sheet.paste(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC), (x, y))
        pen.multiline_text((x, y + side + 1), "\n".join(textwrap.wrap(caption, 25)[:3]), "black", font, spacing=1)
    return sheet


if __name__ == "__main__":
    main()
