"""What flows take, as Prefect's UI asks for it and as a server holds parameters against it before a run exists.

The parameters stay plain strings and lists: a flow is called as ``study_flow("configs/mini.yaml", "runs/mini")``.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from flows.environment import CHECKOUT

NOT_BLANK = r"\S"
SETTING = r"^\s*[^=.\s][^=]*="  # a key, then its value; what it means is looked at when the run begins


def known_configs() -> list[str]:
    """The configurations that come with a checkout, as its root sees them; none where the package is installed."""
    return sorted(path.relative_to(CHECKOUT).as_posix() for path in CHECKOUT.glob("configs/*.yaml"))


def _field(title: str, description: str, **more: Any) -> Any:
    # Prefect makes a field of its own around this one, with the parameter's name as title and without description; what
    # stands under "extra" is laid over that.
    return Field(json_schema_extra={"title": title, "description": description}, **more)


_KNOWN = f" Those that are there: {', '.join(known_configs())}." if known_configs() else ""

ConfigPath = Annotated[
    str,
    _field(
        "Configuration",
        f"The study's settings: a YAML file, as the worker's folder or an absolute path names it.{_KNOWN}",
        pattern=NOT_BLANK,
        examples=known_configs() or ["configs/mini.yaml"],
    ),
]
Root = Annotated[
    str,
    _field(
        "Study folder",
        "Where the study is, or is to be made: a folder of its own, on a disk that the worker sees. What is finished "
        "there is kept.",
        pattern=NOT_BLANK,
        examples=["runs/mini"],
    ),
]
Overrides = Annotated[
    list[Annotated[str, Field(pattern=SETTING)]] | None,
    _field(
        "Other settings",
        "Settings that differ from the configuration's, one an entry, as in sae.epochs=2 or run.max_workers=4. A study "
        "that is begun takes those alone that change no result.",
        examples=[["run.max_workers=4", "run.task_runner=dask"]],
    ),
]
Truth = Annotated[
    str,
    _field(
        "Images of known truth",
        "A Parquet file of images whose concepts are known, as `python -m miniature.truth` writes one.",
        pattern=NOT_BLANK,
        examples=["runs/truth.parquet"],
    ),
]
Dictionaries = Annotated[
    dict[str, tuple[str, str]] | None,
    _field(
        "Dictionaries of your own",
        "Further SAEs that are scored: a name, and for it the site they were trained for and a folder in SAELens' "
        "format.",
        examples=[{"mine": ["mid/0.50/cond", "data/mine"]}],
    ),
]
