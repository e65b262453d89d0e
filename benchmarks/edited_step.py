"""What an edit costs beside plain sampling, where every step is edited.

    python -m benchmarks.edited_step configs/mini.yaml runs/mini [--rounds 7]

One batch of the study's own prompts on one thread, each way timed in turn in one process by its CPU seconds; the median
of the rounds counts. A global edit adds a direction; a spatial one encodes the update, too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from concepts.cases import Case
from diffusion.sampling import Beginnings, sample
from study.config import load_config
from study.models import borrowed_model
from study.opening import open_existing
from study.study import Study
from study.units import KINDS, PlannedEdit, strengths_of, targets_of
from tasks.editor import Editor, Recipe
from tasks.edits import cases_of


def main(argv: list[str] | None = None) -> int:
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="the study's configuration")
    parser.add_argument("root", help="a study's folder, labelled")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(argv)
    study = open_existing(options.root, load_config(options.config))
    torch.set_num_threads(1)
    for kind, ratio, plain, edited in compared(study, options.rounds):
        print(f"{kind} edit at every step: {edited:.2f} s, plain {plain:.2f} s, ratio {ratio:.3f}")
    return 0


def compared(study: Study, rounds: int) -> list[tuple[str, float, float, float]]:
    """(kind, ratio, plain CPU seconds, edited CPU seconds) of each kind that the study has targets of."""
    found = []
    for kind in KINDS:
        targets = targets_of(study, kind)
        if not targets:
            continue
        cases = batch_of(study, kind, targets[0])
        editor = Editor(study, always(study, kind, targets[0]))
        with borrowed_model(study) as model:
            captions, seeds = [case.caption for case in cases], [case.seed for case in cases]
            ways = (
                lambda m=model, c=captions, s=seeds: sample(m, c, s, study.config.sampling),
                lambda e=editor, c=cases: without_beginnings(e, c),
            )
            plain, edited = in_turn(ways, rounds)
        found.append((kind, edited / plain, plain, edited))
    return found


def always(study: Study, kind: str, target: str) -> Recipe:
    """An edit by the target's concepts at every step, by the dictionary of the first window."""
    window = next(iter(study.config.interventions.windows))
    recipe = Recipe.of(study, PlannedEdit(kind, target, window), strengths_of(study, kind)[0])
    return replace(recipe, t_low=0.0, t_high=1.0)


def batch_of(study: Study, kind: str, target: str) -> list[Case]:
    """One batch of cases, of as many prompts as images: no two rows may share steps."""
    size = study.config.sampling.batch_size
    cases = {case.prompt_id: case for case in cases_of(study, kind, target, "dictionary", size)}
    return list(cases.values())[:size]


def without_beginnings(editor: Editor, cases: list[Case]) -> None:
    """Nothing is known of the round before."""
    editor.beginnings = Beginnings()
    editor.run(cases)


def in_turn(ways: tuple[Callable[[], object], ...], rounds: int) -> list[float]:
    """Median CPU seconds of each way, a warm-up before."""
    times: list[list[float]] = [[] for _ in ways]
    for number in range(rounds + 1):
        for way, taken in zip(ways, times, strict=True):
            started = time.process_time()
            way()
            if number:
                taken.append(time.process_time() - started)
    return [statistics.median(taken) for taken in times]


if __name__ == "__main__":
    sys.exit(main())
