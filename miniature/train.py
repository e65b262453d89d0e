"""Train the miniature from nothing: ``python -m miniature.train --work runs/miniature --out miniature/weights``.

Three stages, each resumable from its last checkpoint: ``vae``, ``vision``, ``diffusion``; ``all`` runs them in
order. ``export`` writes what there is without training on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from diffusers import AutoencoderKL

from miniature.export import export
from miniature.tokenizer import write_tokenizer
from miniature.train_diffusion import DiffusionRun, DiffusionSettings, encode_scenes, train_diffusion
from miniature.train_vae import train_vae
from miniature.train_vision import train_vision

STAGES = ("vae", "vision", "diffusion", "export", "all")


def main(arguments: list[str] | None = None) -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", nargs="?", choices=STAGES, default="all")
    parser.add_argument("--work", type=Path, default=Path("runs/miniature"), help="checkpoints, logs, cached latents")
    parser.add_argument("--out", type=Path, default=Path("miniature/weights"), help="where finished weights go")
    parser.add_argument("--steps", type=int, default=4000, help="steps of the diffusion stage")
    options = parser.parse_args(arguments)
    if options.stage in ("vae", "all"):
        train_vae(options.work).save_pretrained(options.work / "vae" / "final")
    vae = AutoencoderKL.from_pretrained(options.work / "vae" / "final").eval()
    if options.stage in ("vision", "all"):
        train_vision(options.work, vae).save(options.out / "scene-vision")
    if options.stage in ("diffusion", "export", "all"):
        run = new_run(vae, options.work)
        if options.stage != "export":
            train_diffusion(run, options.work, options.steps)
        run.resume(options.work / "diffusion")
        export(run, vae, options.out / "sd-mini")


def new_run(vae: AutoencoderKL, work: Path) -> DiffusionRun:
    """A diffusion run on the standard data, not yet resumed."""
    settings = DiffusionSettings()
    latents, captions = encode_scenes(vae, settings.scenes, work)
    return DiffusionRun(settings, latents, captions, write_tokenizer(work / "tokenizer"))


if __name__ == "__main__":
    main()
