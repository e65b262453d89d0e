"""Draw the training curves, and keep the logs beside the weights: ``python -m miniature.curves --work DIR``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

CURVES = {
    "vae": ("l1", "autoencoder: mean absolute error"),
    "vision": ("loss", "judge (U-Net): loss"),
    "second": ("loss", "second judge (dilated): loss"),
    "diffusion": ("loss", "diffusion model: weighted loss"),
}


def read_log(path: Path) -> list[dict[str, Any]]:
    """Rows by step. A run that was killed repeats the steps since its checkpoint; the last of equals counts."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [row for _, row in sorted({row["step"]: row for row in rows}.items())]


def draw(logs: dict[str, list[dict[str, Any]]], out: Path) -> None:
    """One panel a stage, both axes logarithmic where that shows more."""
    figure = Figure(figsize=(3.4 * len(logs), 2.6))
    axes = figure.subplots(1, len(logs), squeeze=False)
    for axis, (stage, rows) in zip(axes[0], logs.items(), strict=True):
        column, title = CURVES[stage]
        steps, values = [row["step"] for row in rows], [row[column] for row in rows]
        axis.plot(steps, values, linewidth=0.9, color="#1f4e79")
        axis.set_yscale("log")
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7, which="both")
        axis.text(
            0.97, 0.93, f"at the end {values[-1]:.3g}", fontsize=8, ha="right", va="top", transform=axis.transAxes
        )
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/miniature"))
    parser.add_argument("--logs", type=Path, default=Path(__file__).with_name("logs"))
    parser.add_argument("--out", type=Path, default=Path("docs/images/miniature_curves.png"))
    options = parser.parse_args(arguments)
    options.logs.mkdir(parents=True, exist_ok=True)
    logs = {}
    for stage in CURVES:
        if (options.work / stage / "log.jsonl").exists():
            logs[stage] = read_log(options.work / stage / "log.jsonl")
            lines = "".join(json.dumps(row) + "\n" for row in logs[stage])
            (options.logs / f"{stage}.jsonl").write_text(lines, encoding="utf-8")
    draw(logs, options.out)


if __name__ == "__main__":
    main()
