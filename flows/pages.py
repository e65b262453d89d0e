"""What the page of a flow run says, as markdown: a function of facts, without a clock and without Prefect."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from rich.filesize import decimal

from study.stages import STAGES

Count = tuple[int, int]  # pieces of work that are done, and all of them
MOST_SHOWN = 4  # pieces of work that are under way at once


@dataclass
class Facts:
    """All that a page tells. ``counts``: of every stage of the flow; ``runs``: flow -> address of its run, or empty.

    ``pictures``: markdown of what was drawn last.
    """

    study: str
    folder: str
    flow: str
    begun: datetime
    counts: dict[str, Count]
    runs: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    under_way: list[str] = field(default_factory=list)
    stage: str = ""
    progress: str = ""
    last: str = ""
    pictures: str = ""
    ended: datetime | None = None
    end: str = ""


def page(facts: Facts) -> str:
    """The page as it is now."""
    lines = [f"# {_cell(facts.study)}: {facts.end or 'under way'}", ""]
    lines += [f"| study | {_cell(facts.study)} |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in _rows(facts) if value]
    lines += ["", "| stage | done | of | run |", "| --- | ---: | ---: | --- |"]
    lines += [_stage_row(facts, stage, *count) for stage, count in facts.counts.items() if count[1]]
    lines += ["", "Units that are made together, as the SAEs of a site for every k, count as one."]
    lines += ["", facts.pictures] if facts.pictures else []
    return "\n".join(lines)


def _rows(facts: Facts) -> list[tuple[str, str]]:
    stores = ", ".join(f"{name} {decimal(size)}" for name, size in facts.sizes.items())
    shown, more = facts.under_way[:MOST_SHOWN], len(facts.under_way) - MOST_SHOWN
    at_work = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    return [
        ("folder", f"`{_cell(facts.folder)}`"),
        ("command", "the whole study" if facts.flow == "run" else facts.flow),
        ("stage", f"{facts.stage}: {facts.progress}" if facts.stage else ""),
        ("at work on", _cell(at_work)),
        ("last unit", _cell(facts.last)),
        ("on disk", f"{decimal(sum(facts.sizes.values()))} ({stores})" if facts.sizes else ""),
        ("begun", _moment(facts.begun)),
        ("ended", _moment(facts.ended) if facts.ended else ""),
    ]


def _stage_row(facts: Facts, stage: str, done: int, total: int) -> str:
    flow = STAGES[stage].command if stage in STAGES else ""
    address = facts.runs.get(flow)
    run = f"[{flow}]({address})" if address else flow if flow in facts.runs else ""
    return f"| {stage} | {done} | {total} | {run} |"


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


def _cell(text: str) -> str:
    """Text that ends no cell of a table and begins no markup."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
