"""What successive halving of strengths saves and what it costs: both ways in turn, in one process.

    python -m benchmarks.halving configs/mini.yaml runs/mini

Every kind and window of a labelled study is calibrated in full and by halving (`interventions.calibration`), by the
stage's own code and without writing anything. Said are the CPU seconds of one thread, and for how many targets and
windows the two choose the same strength; of the others, how the full trial ranks what halving has chosen.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from typing import Any

import torch

from concepts.strengths import best_strength
from study.config import load_config
from study.opening import open_existing
from study.study import Study
from study.units import Calibration, calibrations, strengths_of
from tasks.calibrate import trials_of

WAYS = ("full", "halving")
Rows = list[dict[str, Any]]


def main(argv: list[str] | None = None) -> int:
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="the study's configuration")
    parser.add_argument("root", help="a study's folder, labelled")
    options = parser.parse_args(argv)
    study = open_existing(options.root, load_config(options.config))
    torch.set_num_threads(1)
    seconds, compared = dict.fromkeys(WAYS, 0.0), Rows()
    for given in calibrations(study).values():
        rows = {}
        for way in WAYS:
            rows[way], taken = _calibrated(study, given["calibration"], way)
            seconds[way] += taken
        compared += choices(rows["full"], rows["halving"], strengths_of(study, given["calibration"].kind))
    print(
        f"full {seconds['full']:.0f} s, halving {seconds['halving']:.0f} s: {seconds['halving'] / seconds['full']:.2f}"
    )
    alike = sum(one["full"] == one["halving"] for one in compared)
    print(f"the same strength in {alike} of {len(compared)} (target, window)")
    for one in compared:
        if one["full"] != one["halving"]:
            print(
                "  {window}, {target}: {full:g} ({above_full:+.2f}), by halving {halving:g} ({above:+.2f})".format(
                    **one
                )
            )
    return 0


def _calibrated(study: Study, calibration: Calibration, way: str) -> tuple[Rows, float]:
    """The rows, and the CPU seconds that they took."""
    edits = study.config.interventions.model_copy(update={"calibration": way})
    other = dataclasses.replace(study, config=study.config.model_copy(update={"interventions": edits}))
    began = time.process_time()
    return trials_of(other, calibration), time.process_time() - began


def choices(full: Rows, halved: Rows, strengths: tuple[float, ...]) -> Rows:
    """Of each target the two strengths, and how far above random directions the full trial finds each."""
    found = []
    for target in dict.fromkeys(row["target"] for row in full):
        in_full, by_halving = ([row for row in rows if row["target"] == target] for rows in (full, halved))
        chosen = best_strength(in_full, strengths), best_strength(by_halving, strengths, halved=True)
        above = {row["strength"]: row["success"] - row["random_success"] for row in in_full}
        found.append(
            {
                "window": in_full[0]["window"],
                "target": target,
                **dict(zip(WAYS, chosen, strict=True)),
                "above_full": above[chosen[0]],
                "above": above[chosen[1]],
            }
        )
    return found


if __name__ == "__main__":
    sys.exit(main())
