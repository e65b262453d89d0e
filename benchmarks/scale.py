"""The tables of docs/scale.md: the paper's run and a hundred of it on 1, 8 and 64 GPUs: time, bytes, units and money.

    python -m benchmarks.scale            # renews the page's tables
    python -m benchmarks.scale --check    # writes nothing, and exits with 1 if a figure differs
    python -m benchmarks.scale --count    # counts the operations of the networks anew, without weights; half a minute

Arithmetic, no measurement: unit costs that were measured elsewhere, with where, times the counts that ``study.outlook``
gives for ``configs/sd14.yaml``. A GPU's speeds are an H100's, with random weights; what nobody of us has measured is
called an assumption.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from rich.filesize import decimal

from benchmarks.page import put
from diffusion.model import Facts
from sae.members import members_of
from study.config import StudyConfig, load_config
from study.outlook import Outlook, hours, outlook, trial_edits_of

REPO = Path(__file__).resolve().parent.parent
PAGE = REPO / "docs" / "scale.md"
SD14 = REPO / "configs" / "sd14.yaml"
SHAPES = Facts(512, 512, 77, {"down": (16, 16, 1280), "mid": (8, 8, 1280), "up": (16, 16, 1280)})
BEGIN, END = "<!-- made by benchmarks/scale.py: {} -->", "<!-- end of {} -->"
GPUS, SIZES = (1, 8, 64), (1, 100)


@dataclass(frozen=True)
class Cost:
    """A unit cost: its value, how the page says it, and where it comes from."""

    value: float
    shown: str
    of: str
    source: str


H100 = "measured on an H100"
COUNT = "counted: `python -m benchmarks.scale --count`"
COSTS = {
    "unet": Cost(0.803e12, "0.803 TFLOP", "one pass of the U-Net over one latent", COUNT),
    "decoder": Cost(0.019, "19 ms", "decoding one image, 16 at once", f"{H100}: `python -m benchmarks.sampling_gpu`"),
    "found": Cost(
        0.089 + 0.082,
        "0.171 s",
        "detector and segmenter on one image, bfloat16, four at once",
        f"{H100}: `python -m benchmarks.full_size --device cuda`",
    ),
    "step": Cost(
        4.28e-3 / 4096,
        "1.04 us",
        "a training step of one SAE of 5120 concepts, a vector",
        f"{H100}: `python -m benchmarks.sae_kernels`",
    ),
    "loader": Cost(
        5.17e-6, "5.17 us", "reading one vector to train, one core", "measured: `python -m benchmarks.loader`"
    ),
    "write": Cost(0.65e9, "0.65 GB/s", "writing activations, one core", "measured: `python -m benchmarks.store_codec`"),
    "labels": Cost(
        0.1 * 57 * 2 * 3600 / 36,
        "1140 s",
        "labels of one dictionary of 40,000 images without its encoder product, one core",
        "measured: a tenth of 57 h of two cores, 36 dictionaries, [performance.md](performance.md#labelling)",
    ),
    "tasks": Cost(
        26.0,
        "26 a second",
        "task runs that a server on PostgreSQL takes in",
        "measured once with Prefect 3.8.8 on two cores, by no script of this project",
    ),
    "segments": Cost(
        270_000 / 40_000,
        "6.75",
        "segments an image",
        "assumed, as in `python -m benchmarks.queries`, whose tables are made up",
    ),
    "gpu": Cost(
        227e12,
        "227 TFLOP/s",
        "what one GPU does while it samples and records, 16 at once",
        f"{H100}: `python -m benchmarks.sampling_gpu`",
    ),
    "price": Cost(3.0, "3 USD", "a GPU for an hour, its cores and memory too", "**assumed**: put in your own"),
    "storage": Cost(0.023, "0.023 USD", "a GB kept for a month", "**assumed**: a list price of object storage"),
}


@dataclass(frozen=True)
class Run:
    """A study, so many times the paper's, as its configuration and its counts."""

    times: int
    config: StudyConfig
    counts: Outlook


def run_of(times: int) -> Run:
    """The paper's run with every split so many times as large; the edits are the same."""
    splits = {name: times * size for name, size in load_config(SD14).prompts.splits.items()}
    given = ", ".join(f"{name}: {size}" for name, size in splits.items())
    config = load_config(SD14, [f"prompts.splits={{{given}}}"])
    return Run(times, config, outlook(config, SHAPES))


def value(name: str) -> float:
    """A unit cost in seconds, bytes, floating point operations, or USD."""
    return COSTS[name].value


def makespan(jobs: list[float], workers: int) -> float:
    """Seconds until the last of the jobs is done, each by one worker: the longest first, to whoever is free first."""
    busy = [0.0] * workers
    for job in sorted(jobs, reverse=True):
        busy[busy.index(min(busy))] += job
    return max(busy)


def image_seconds(run: Run) -> float:
    """GPU seconds to sample one image: two halves of guidance at each step."""
    return 2 * run.config.sampling.steps * value("unet") / value("gpu")


def collect(run: Run, gpus: int) -> float:
    """Seconds of sampling: equal shards dealt to the GPUs; of the train split no image is decoded."""
    splits = run.config.prompts.splits
    decoded = 1 - splits["train"] / run.counts.prompts
    each = image_seconds(run) + decoded * value("decoder")
    return ceil(run.counts.shards / gpus) * run.config.prompts.shard_size * each


def site_seconds(run: Run, block: str) -> float:
    """Seconds to train all SAEs of one site: what is slower, one core that reads the vectors or the GPU's steps."""
    rows, columns, d = SHAPES.shapes[block]
    vectors = run.config.prompts.splits["train"] * rows * columns * run.config.sae.epochs
    sizes = sum(member.n / 5120 for member in members_of(run.config.sae, d, run.config.seed))
    return vectors * max(value("loader"), value("step") * sizes)


def train(run: Run, gpus: int) -> float:
    """Seconds of training: a site is one unit, and no GPU takes half of one."""
    return makespan([site_seconds(run, site.block) for site in run.config.sites_list()], gpus)


def label(run: Run, gpus: int) -> float:
    """Seconds of finding and segmenting, dealt in shards, then of labelling, a dictionary a unit on one core."""
    size = run.config.prompts.shard_size
    shards = ceil(run.counts.segmented / size)
    found = ceil(shards / gpus) * size * value("found")
    one = value("labels") * run.config.prompts.splits["dictionary"] / 40_000
    return found + makespan([one] * run.counts.dictionaries, gpus)


def intervene(run: Run, gpus: int) -> float:
    """At most so many seconds of edits: as if each were sampled whole; a target and a window are one unit."""
    edits = run.config.interventions
    units = (len(edits.objects) + len(edits.styles)) * len(edits.windows)
    images = run.counts.edits + trial_edits_of(run.config)
    return ceil(units / gpus) * images / units * image_seconds(run)


STAGES = {"collect": collect, "train": train, "label": label, "intervene": intervene}


def tasks(run: Run) -> int:
    """Units of work of the stages that have one a shard: sampling, and tagging, finding, segmenting, measuring."""
    return run.counts.shards + 4 * ceil(run.counts.segmented / run.config.prompts.shard_size)


def time_row(run: Run, gpus: int) -> list[str]:
    """Times of the stages and of all, GPU hours held, and what they cost."""
    seconds = [stage(run, gpus) for stage in STAGES.values()]
    held = gpus * sum(seconds) / 3600
    rate = run.counts.activation_bytes / seconds[0]
    cells = [f"{run.times} x", str(gpus), *map(hours, seconds), f"**{hours(sum(seconds))}**"]
    return [*cells, f"{rate / 1e9:.2f} GB/s", f"{held:,.0f}", f"{held * value('price'):,.0f}"]


def size_row(run: Run) -> list[str]:
    """Counts and bytes, which do not depend on the GPUs."""
    counts = run.counts
    return [
        f"{run.times} x",
        f"{counts.prompts:,}",
        f"{counts.shards:,}",
        f"{counts.shards * counts.sites:,}",
        f"{tasks(run):,}",
        hours(tasks(run) / value("tasks")),
        f"{counts.saes:,}",
        decimal(counts.activation_bytes),
        decimal(counts.bytes - counts.activation_bytes),
        f"{counts.segmented * value('segments') / 1e6:,.1f} million",
        f"{counts.bytes / 1e9 * value('storage'):,.0f}",
    ]


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def tables() -> dict[str, str]:
    """Name -> table, as the page has them."""
    runs = [run_of(times) for times in SIZES]
    times = [time_row(run, gpus) for run in runs for gpus in GPUS]
    sizes = [
        "run",
        "prompts",
        "shards",
        "files of activations",
        "units of shards",
        "of the server's time",
        "SAEs",
        "activations",
    ]
    costs = [[cost.of, cost.shown, cost.source] for cost in COSTS.values()]
    return {
        "times": table(["run", "GPUs", *STAGES, "all", "written while collecting", "GPU hours", "USD"], times),
        "sizes": table([*sizes, "the rest", "segments", "USD a month"], list(map(size_row, runs))),
        "costs": table(["of what", "unit cost", "from where"], costs),
    }


def renewed(page: str) -> str:
    """The page with its tables made anew."""
    for name, made in tables().items():
        begin, end = BEGIN.format(name), END.format(name)
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}\n{made}\n{end}{rest.partition(end)[2]}"
    return page


def count() -> dict[str, int]:
    """Floating point operations of a pass of the U-Net, the decoder and SAM's encoder, of shapes alone."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import SamVisionConfig
    from transformers.models.sam.modeling_sam import SamVisionEncoder

    from benchmarks.random_model import CONTEXT, UNET, VAE

    huge = {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16, "mlp_dim": 5120}
    counted = {}
    with torch.device("meta"), torch.no_grad():
        latent = torch.empty(1, 4, 64, 64)
        unet, vae = UNet2DConditionModel(**UNET), AutoencoderKL(**VAE)
        sam = SamVisionEncoder(SamVisionConfig(**huge, global_attn_indexes=[7, 15, 23, 31]))
        calls = {
            "unet": lambda: unet(latent, torch.tensor(1), torch.empty(1, CONTEXT, 768)),
            "decoder": lambda: vae.decode(latent),
            "sam": lambda: sam(torch.empty(1, 3, 1024, 1024)),
        }
        for name, call in calls.items():
            with FlopCounterMode(display=False) as counter:
                call()
            counted[name] = counter.get_total_flops()
    return counted


def main(arguments: list[str] | None = None) -> int:
    """Renew or check the page, or count operations."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a figure differs")
    parser.add_argument("--count", action="store_true", help="count the operations of the networks")
    options = parser.parse_args(arguments)
    if options.count:
        for name, operations in count().items():
            print(f"{name}: {operations / 1e12:.3f} TFLOP")
        return 0
    return put(PAGE, renewed(PAGE.read_text(encoding="utf-8")), options.check, "figures")


if __name__ == "__main__":
    sys.exit(main())
