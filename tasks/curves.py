"""Live training curves: a Prefect artifact that grows while a site's SAEs train, and TensorBoard if asked for."""

from __future__ import annotations

import re
import time
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from sae.checkpoint import History
from sae.kinds import TRAINED
from sae.members import Member
from storage.site import Site
from study.errors import StudyError
from study.study import Study
from tasks import share, train

PERIOD_S = 15.0  # each version of an artifact is a row in the server's database
SHOWN_ROWS = 12
BARS = "▁▂▃▄▅▆▇█"


def train_site(study: Study, site: Site) -> dict[str, Any]:
    """Train and evaluate every SAE of a site, its curve in Prefect's UI and its cautions in the run's log."""
    summary = train.train_site(study, site, LiveCurves(study, site.path))
    for caution in summary["cautions"]:
        get_run_logger().warning(caution)
    return summary


def train_shared(study: Study, block: str, conditioning: str) -> dict[str, Any]:
    """Train and evaluate the SAEs of all times of a block together, their curve in Prefect's UI."""
    return share.train_shared(study, block, conditioning, LiveCurves(study, f"{block}/shared/{conditioning}"))


class LiveCurves:
    """A training run's ``on_progress``: publishes the log now and then, and when the run ends."""

    def __init__(self, study: Study, name: str) -> None:
        self.name = name
        self._last = float("-inf")
        self._writer = _TensorBoard(study, name) if study.config.run.tensorboard else None

    def __call__(self, step: int, total: int, history: History) -> None:
        """Publish the log so far, if it is time."""
        if self._writer:
            self._writer.write(history)
        if step < total and time.monotonic() - self._last < PERIOD_S:
            return
        self._last = time.monotonic()
        curves = curve_markdown(self.name, step, total, history)
        create_markdown_artifact(curves, key=artifact_key(self.name), description="Training curve")


def artifact_key(name: str) -> str:
    """Prefect's keys are of lower-case letters, digits and dashes; names of blocks need not be."""
    return "train-" + re.sub("[^a-z0-9]+", "-", name.lower().replace(".", "")).strip("-")


def member_name(member: Member) -> str:
    """``k10 n256 seed0``, and a control's kind."""
    return f"k{member.k} n{member.n} seed{member.seed}" + ("" if member.kind == TRAINED else f" {member.kind}")


def curve_markdown(name: str, step: int, total: int, history: History) -> str:
    """The log of every SAE of a site: a line of bars for the share unexplained, and its last rows."""
    lines = [f"## {name}: step {step} of {total}", ""]
    for member, rows in history.items():
        lines += [f"### {member_name(member)}", "", f"unexplained {_bars([row['fvu'] for row in rows])}", ""]
        lines += ["| step | unexplained | aux | L0 | dead | gradient |", "| --- | --- | --- | --- | --- | --- |"]
        stride = max(len(rows) // SHOWN_ROWS, 1)
        for row in [*rows[:-1][::stride], *rows[-1:]]:
            lines.append(
                f"| {row['step']:.0f} | {row['fvu']:.4f} | {row['aux']:.3f} | {row['l0']:.1f} | "
                f"{100 * row['dead_fraction']:.1f} % | {row['gradient_norm']:.3f} |"
            )
        lines.append("")
    return "\n".join(lines)


def _bars(values: list[float]) -> str:
    """Values between 0 and the largest as bars of eight heights."""
    top = max([*values, 1e-12])
    return "".join(BARS[min(int(len(BARS) * value / top), len(BARS) - 1)] for value in values)


class _TensorBoard:
    """Scalars below ``<root>/tensorboard/<site>/<member>``; each row is written once."""

    def __init__(self, study: Study, name: str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise StudyError("run.tensorboard is set: install it with `pip install tensorboard`") from error
        self._make: Any = lambda member: SummaryWriter(f"{study.root}/tensorboard/{name}/{member_name(member)}")
        self._writers: dict[Member, Any] = {}
        self._written: dict[Member, float] = {}

    def write(self, history: History) -> None:
        for member, rows in history.items():
            writer = self._writers.setdefault(member, self._make(member)) if rows else None
            for row in rows:
                if writer and row["step"] > self._written.get(member, -1):
                    for key in ("fvu", "aux", "l0", "dead_fraction", "gradient_norm", "lr"):
                        writer.add_scalar(key, row[key], int(row["step"]))
                    self._written[member] = row["step"]
            if writer:
                writer.flush()
