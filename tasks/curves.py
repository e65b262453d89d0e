"""Live training curves: a Prefect artifact that grows while a site's SAEs train, and TensorBoard if asked for."""

from __future__ import annotations

import time
from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.context import TaskRunContext

from sae.checkpoint import Logs
from sae.curve import CurveRow, over_samples
from sae.kinds import TRAINED
from sae.members import Member
from storage.site import Site
from study.errors import StudyError
from study.study import Study
from tasks import share, train
from tasks.keys import artifact_key
from tasks.logs import run_logger

PERIOD_S = 15.0  # each version of an artifact is a row in the server's database
SHOWN_ROWS = 12
BARS = "▁▂▃▄▅▆▇█"


def train_site(study: Study, site: Site) -> dict[str, Any]:
    """Train and evaluate every SAE of a site, its curve in Prefect's UI and its cautions in the run's log."""
    return _warned(study, "train", train.train_site(study, site, LiveCurves(study, site.path)))


def train_shared(study: Study, block: str, conditioning: str) -> dict[str, Any]:
    """Train and evaluate the SAEs of all times of a block together, likewise."""
    curves = LiveCurves(study, f"{block}/shared/{conditioning}")
    return _warned(study, "share", share.train_shared(study, block, conditioning, curves))


def _warned(study: Study, stage: str, summary: dict[str, Any]) -> dict[str, Any]:
    for caution in summary["cautions"]:
        run_logger(study, stage).warning(caution)
    return summary


class LiveCurves:
    """A training run's ``on_progress``: publishes the log now and then, and when the run ends.

    A call from outside a task run publishes nothing: Prefect would start a server for it, which outlives the call.
    """

    def __init__(self, study: Study, name: str) -> None:
        self.name = name
        self._key = artifact_key(study.config.name, "train", name)
        self._last = float("-inf")
        self._writer = _TensorBoard(study, name) if study.config.run.tensorboard else None

    def __call__(self, step: int, total: int, logs: Logs) -> None:
        """Publish the logs so far, if it is time."""
        if self._writer:
            self._writer.write(logs)
        if TaskRunContext.get() is None or (step < total and time.monotonic() - self._last < PERIOD_S):
            return
        self._last = time.monotonic()
        curves = curve_markdown(self.name, step, total, logs)
        create_markdown_artifact(curves, key=self._key, description="Training curve")


def member_name(member: Member) -> str:
    """``k10 n256 seed0``, and a control's kind."""
    return f"k{member.k} n{member.n} seed{member.seed}" + ("" if member.kind == TRAINED else f" {member.kind}")


def curve_markdown(name: str, step: int, total: int, logs: Logs) -> str:
    """Of every SAE of a site: its curve on the held-out sample, the share unexplained in bars, the log's last rows."""
    lines = [f"## {name}: step {step} of {total}", ""]
    for member, rows in logs.history.items():
        lines += [f"### {member_name(member)}", "", *_held_out_table(logs.curves[member])]
        lines += [f"unexplained {_bars([row['fvu'] for row in rows])}", ""]
        lines += ["| step | unexplained | aux | L0 | dead | gradient |", "| --- | --- | --- | --- | --- | --- |"]
        stride = max(len(rows) // SHOWN_ROWS, 1)
        for row in [*rows[:-1][::stride], *rows[-1:]]:
            lines.append(
                f"| {row['step']:.0f} | {row['fvu']:.4f} | {row['aux']:.3f} | {row['l0']:.1f} | "
                f"{100 * row['dead_fraction']:.1f} % | {row['gradient_norm']:.3f} |"
            )
        lines.append("")
    return "\n".join(lines)


def _held_out_table(rows: list[CurveRow]) -> list[str]:
    """Lines of a table of the curve, means over the times that share the SAE; none without a point."""
    if not rows:
        return []
    lines = ["| step | held out: explained | dead | cosine to start | own start nearest | stability |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for row in over_samples(rows):
        stable = "" if row["stability"] is None else f"{row['stability']:.2f}"
        lines.append(
            f"| {row['step']:.0f} | {100 * row['explained_variance']:.1f} % | {100 * row['dead_fraction']:.1f} % | "
            f"{row['init_cosine']:.2f} | {100 * row['init_nearest']:.0f} % | {stable} |"
        )
    return [*lines, ""]


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

    def write(self, logs: Logs) -> None:
        for member, rows in logs.history.items():
            if not rows:
                continue
            if member not in self._writers:
                self._writers[member] = self._make(member)
            writer, written = self._writers[member], self._written.get(member, -1)
            for place, told in (("", rows), ("held_out/", over_samples(logs.curves[member]))):
                for row in told:
                    for key, value in row.items():
                        if row["step"] > written and key != "step" and value is not None:
                            writer.add_scalar(place + key, value, int(row["step"]))
            self._written[member] = rows[-1]["step"]
            writer.flush()
