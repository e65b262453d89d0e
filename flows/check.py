"""``concepts check``: what a configuration asks for, whether all that it names is there, how much room and time."""

from __future__ import annotations

from pathlib import Path

from study.config import StudyConfig, load_config


def check(path: Path, overrides: list[str], root: Path | None, timing: bool) -> None:
    """Print the outlook of a study that is not begun. Raises a user's error for what would stop it; writes nothing."""
    config = load_config(path, overrides)
    outlook_lines(config, root)
    if timing:
        print("time         ", end="", flush=True)
        print(_time(config))
    print("all that the settings name is there")


def outlook_lines(config: StudyConfig, root: Path | None) -> None:
    """Print what will be done, after a look at everything that the settings name and, with a root, at its disk."""
    from storage.study import has_study
    from study.inputs import check_inputs
    from study.opening import open_existing
    from study.outlook import outlook, refuse_no_room, told
    from study.paths import growths

    forecast = outlook(config, check_inputs(config))
    if root is not None:
        refuse_no_room(root, forecast)
    print(f"study {config.name}")
    if config.prompts.grows and root is not None and has_study(root):
        study = open_existing(root, config)
        news = study.source not in (None, growths(study).source)
        print(
            f"captions     {'the source has changed since it was read last' if news else 'nothing new in the source'}"
        )
    for line in told(forecast):
        print(line)


def _time(config: StudyConfig) -> str:
    """The models are loaded for it: what only their weights can tell is told now, too."""
    from study.inputs import check_inputs
    from study.outlook import hours
    from study.pace import measure_pace

    pace = measure_pace(config, check_inputs(config))
    stages = ("collect", "train", "label", "intervene")
    shares = ", ".join(f"{stage} {hours(getattr(pace, stage) / pace.at_once)}" for stage in stages)
    return f"about {hours(pace.total)} on this machine ({shares}): a piece of each was timed"
