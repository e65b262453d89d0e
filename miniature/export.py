"""Write the trained miniature as a standard diffusers folder: averaged weights, fp16 safetensors."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from diffusion.manifest import write_manifest
from miniature.tokenizer import write_tokenizer
from miniature.train_diffusion import DiffusionRun, new_scheduler

REBUILD = "python -m miniature.train diffusion"


def export(run: DiffusionRun, vae: AutoencoderKL, out: Path) -> None:
    """Replace ``out`` by the run's averaged weights; a reader sees the old folder or the new one, never half."""
    weights = dict(run.modules.state_dict()) | run.ema
    unet, text = run.modules["unet"], run.modules["text"]
    trained = {name: value.clone() for name, value in run.modules.state_dict().items()}
    run.modules.load_state_dict(weights)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=run.tokenizer,
        unet=unet,
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        new = Path(scratch) / "new"
        pipeline.to(torch.float16).save_pretrained(new, safe_serialization=True)
        pipeline.to(torch.float32)
        write_tokenizer(new / "tokenizer")  # vocab.json and merges.txt, beside the fast tokenizer.json
        _forget_paths(new)
        write_manifest(new, REBUILD, {"data": run.settings.data, "steps": run.step})
        if out.exists():
            out.replace(Path(scratch) / "old")
        shutil.move(str(new), out)
    run.modules.load_state_dict(trained)


def _forget_paths(folder: Path) -> None:
    """diffusers writes down where a model was loaded from, which is nobody's business and differs between rebuilds."""
    for file in folder.rglob("*.json"):
        config = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(config, dict) and config.pop("_name_or_path", None) is not None:
            file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
