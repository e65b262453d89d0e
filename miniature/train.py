"""Train the miniature from nothing: ``python -m miniature.train --work runs/miniature --out miniature/weights``.

Four stages, each resumable from its last checkpoint: ``vae``, ``vision`` (the judge), ``second`` (a judge of another
make, to check the first) and ``diffusion``; ``all`` runs them in order. ``export`` writes what the last checkpoint has
without training on. Two runs of a command on one machine give the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from diffusers import AutoencoderKL

from miniature.checkpoint import TrainingError, digest
from miniature.export import export
from miniature.settings import World, WorldError, default_world, load_world
from miniature.tokenizer import write_tokenizer
from miniature.train_diffusion import DiffusionRun, DiffusionSettings, encode_scenes, train_diffusion
from miniature.train_vae import Leg, VaeRun, VaeSettings, train_vae
from miniature.train_vision import JUDGES, VisionRun, VisionSettings, train_vision

STAGES = ("vae", "vision", "second", "diffusion", "export", "all")
# The first judge is what pipelines use; the second only looks over its shoulder.
JUDGE_STEPS = {"vision": 9000, "second": 2400}
FOLDERS = {"vision": "scene-vision", "second": "second-judge", "diffusion": "sd-mini"}


@dataclass(frozen=True)
class Plan:
    """What a command asks for: the world, where to work and write, and how long to train."""

    world: World
    work: Path
    out: Path
    diffusion_steps: int
    judge_steps: dict[str, int]
    vae: VaeSettings
    scenes: int
    pool: int
    judge_batch: int
    diffusion_batch: int


def main(arguments: list[str] | None = None) -> int:
    """Command line of the module. An error that the user can put right is one sentence and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", nargs="?", choices=STAGES, default="all")
    parser.add_argument("--work", type=Path, default=Path("runs/miniature"), help="checkpoints, logs, cached latents")
    parser.add_argument("--out", type=Path, default=Path("miniature/weights"), help="where finished weights go")
    parser.add_argument("--world", type=Path, help="a world file; without it miniature/world.yaml")
    parser.add_argument("--steps", type=int, default=6600, help="steps of the diffusion stage")
    parser.add_argument("--vision-steps", type=int, help=f"steps of each judge; without it {JUDGE_STEPS}")
    parser.add_argument("--short", action="store_true", help="two small steps of each stage: does it run?")
    options = parser.parse_args(arguments)
    try:
        _run(options.stage, _plan(options))
    except (WorldError, TrainingError) as error:
        print(f"miniature.train: {error}", file=sys.stderr)
        return 2
    return 0


def _plan(options: argparse.Namespace) -> Plan:
    world = load_world(options.world) if options.world else default_world()
    if options.short:
        vae = VaeSettings(legs=(Leg(2, 4, 2e-3, False), Leg(2, 4, 1e-3, True)))
        return Plan(world, options.work, options.out, 2, dict.fromkeys(JUDGE_STEPS, 2), vae, 20, 8, 4, 4)
    judge, diffusion = VisionSettings(), DiffusionSettings()
    return Plan(
        world,
        options.work,
        options.out,
        options.steps,
        {judge: options.vision_steps or steps for judge, steps in JUDGE_STEPS.items()},
        VaeSettings(),
        diffusion.scenes,
        judge.pool,
        judge.batch,
        diffusion.batch,
    )


def _run(stage: str, plan: Plan) -> None:
    final = plan.work / "vae" / "final"
    if stage in ("vae", "all"):
        train_vae(VaeRun(plan.vae, plan.world), plan.work / "vae").save_pretrained(final)
    elif not (final / "config.json").exists():
        raise TrainingError(f"{final} is missing: run `python -m miniature.train vae --work {plan.work}` first")
    vae = AutoencoderKL.from_pretrained(final, low_cpu_mem_usage=False).eval()
    for judge, settings in JUDGES.items():
        if stage in (judge, "all"):
            run = VisionRun(replace(settings, pool=plan.pool, batch=plan.judge_batch), vae, plan.world)
            train_vision(run, plan.work / judge, plan.judge_steps[judge]).save(plan.out / FOLDERS[judge])
    if stage in ("diffusion", "export", "all"):
        _diffusion(stage, plan, vae)


def _diffusion(stage: str, plan: Plan, vae: AutoencoderKL) -> None:
    run, folder = new_run(vae, plan), plan.work / "diffusion"
    if stage != "export":
        train_diffusion(run, folder, plan.diffusion_steps)
    run.resume(folder)
    export(run, vae, plan.out / FOLDERS["diffusion"])


def new_run(vae: AutoencoderKL, plan: Plan) -> DiffusionRun:
    """A diffusion run on the plan's data, not yet resumed."""
    latents, captions = encode_scenes(vae, plan.scenes, plan.work, plan.world)
    data = f"{plan.world.digest()}-{digest(vae)}"
    settings = DiffusionSettings(plan.scenes, plan.diffusion_batch, mirror=not plan.world.relations, data=data)
    return DiffusionRun(settings, latents, captions, write_tokenizer(plan.work / "tokenizer"))


if __name__ == "__main__":
    sys.exit(main())
