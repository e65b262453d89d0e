"""Drawing ``figures/``, each picture on its own: one that cannot be drawn costs no other."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from storage.errors import AtlasError
from storage.records import read_record
from study.errors import StudyError
from study.pictures import put_picture
from study.publish import publish
from study.study import Study
from study.units import DRAW_UNIT, FIGURE_STAGE
from tasks.draw import FIGURES, NothingToShow
from tasks.logs import run_logger


@dataclass
class Drawn:
    """The files, and by the names of the other figures why they were left out and why they failed."""

    files: list[Path] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)


def draw_all(study: Study) -> Drawn:
    """Draw every figure whose tables hold something, each with a record that vouches for its file."""
    drawn = Drawn()
    for name, figure in FIGURES.items():
        path = Path(study.root) / "figures" / f"{name}.png"
        try:
            put_picture(study.root, FIGURE_STAGE, path, study.config_hash, partial(figure, study))
            drawn.files.append(path)
        except NothingToShow as reason:
            drawn.left_out[name] = str(reason)
        except Exception as error:  # whatever it is, the other figures can be drawn
            drawn.failed[name] = error
    return drawn


def draw_figures(study: Study) -> dict[str, Any]:
    """Draw every picture, and record that all of them were. Raises ``StudyError`` for those that could not be drawn."""
    drawn = draw_all(study)
    for name, error in drawn.failed.items():
        run_logger(study, "draw").error("figure %s could not be drawn", name, exc_info=error)
    refuse_failed(drawn)
    names = [path.stem for path in drawn.files]
    publish(study, "draw", DRAW_UNIT, {}, extra={"figures": names, "left_out": drawn.left_out})
    return {"drawn": len(names)}


def end(study: Study) -> dict[str, Any]:
    """Report how many pictures there are, and which have nothing to show."""
    record = read_record(study.root, "draw", DRAW_UNIT) or {}
    left_out = {f"left out {name}": f"({reason})" for name, reason in record.get("left_out", {}).items()}
    return {"pictures": len(record.get("figures", ())), **left_out}


def refuse_failed(drawn: Drawn) -> None:
    """Raise ``StudyError`` naming the figures that could not be drawn, if there are any."""
    if drawn.failed:
        reasons = "; ".join(f"{name}.png ({_told(error)})" for name, error in drawn.failed.items())
        raise StudyError(
            f"{len(drawn.failed)} of {len(FIGURES)} figures could not be drawn: {reasons}; everything else is done: "
            "run the same command again when the cause is gone"
        )


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, AtlasError) else f"{type(error).__name__}: {error}"
