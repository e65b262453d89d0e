"""Dictionaries that a user gives to ``concepts bench``, refused at the start if the bench could not score them."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from sae.folder import CONFIG, WEIGHTS
from storage.names import refuse_name
from study.errors import StudyError
from study.store import store_of
from study.study import Study
from tasks.methods import METHODS, users_sae

HOW = "write NAME=BLOCK/T/COND=FOLDER, as in mine=up/0.00/cond=my_sae"
# The bench holds every feature of every cell of the truth at once, two bytes each: of 1000 images of 16 x 16 cells, 33
# GB for so many latents.
MOST_LATENTS = 2**16
MOST_BYTES = 4 * 2**30  # of the weights: 2**16 latents of 8192 channels, in float32


def given_dictionaries(study: Study, arguments: list[str]) -> dict[str, tuple[str, str]]:
    """``NAME=BLOCK/T/COND=FOLDER`` as name -> (site path, folder). Raises ``StudyError`` for one that does not fit."""
    sites = {site.path: site for site in study.config.sites_list()}
    scored = study.config.sites.conditionings[0]
    given: dict[str, tuple[str, str]] = {}
    for argument in arguments:
        name, where, folder = _split(argument)
        if name in given:
            raise StudyError(f"--dictionary {name} is given twice: give each a name of its own")
        if where not in sites:
            raise StudyError(f"--dictionary {name}: the study has no site {where!r}; it has {', '.join(sites)}")
        if sites[where][2] != scored:
            raise StudyError(
                f"--dictionary {name}: the bench scores {scored} sites alone, not {where}: name one of them"
            )
        channels = store_of(study).shape(sites[where])[-1]
        _refuse_unfit_folder(name, Path(folder), channels)
        users_sae(name, Path(folder), channels)  # refused now, not after an hour
        given[name] = (where, folder)
    return given


def _split(argument: str) -> tuple[str, str, str]:
    """Name, site path and folder; the name becomes a method's in the table, beside our own."""
    name, _, rest = argument.partition("=")
    where, _, folder = rest.partition("=")
    if not (name and where and folder):
        raise StudyError(f"--dictionary {argument!r}: {HOW}")
    refuse_name(name, "--dictionary")
    if name.casefold() in METHODS:
        raise StudyError(f"--dictionary {name!r} is the name of one of the bench's own methods: choose another")
    return name, where, folder


def _refuse_unfit_folder(name: str, folder: Path, channels: int) -> None:
    """By what the folder and the header of its weights say, before anything large is read."""
    file = folder / WEIGHTS
    try:
        if not folder.is_dir():
            there = "is no folder" if folder.exists() else "is not there"
            raise StudyError(f"--dictionary {name}: {folder} {there}: give the folder of an SAE in SAELens' format")
        for needed in (file, folder / CONFIG):
            if not needed.is_file():
                raise StudyError(f"--dictionary {name}: {folder} holds no {needed.name}: give a SAELens folder")
        if (size := file.stat().st_size) > MOST_BYTES:
            raise StudyError(f"--dictionary {name}: {file} has {size / 2**30:.0f} GiB, the bench takes at most 4")
        with safe_open(file, "pt") as header:
            shape = header.get_slice("W_enc").get_shape() if "W_enc" in header.keys() else [channels, 1]  # noqa: SIM118
    except OSError as error:
        raise StudyError(
            f"--dictionary {name}: {folder} cannot be read ({error.strerror or error}): make it readable"
        ) from error
    except SafetensorError as error:
        raise StudyError(f"--dictionary {name}: {file} is damaged ({error}): give the folder of a whole SAE") from error
    if len(shape) == 2 and shape[1] > MOST_LATENTS:
        raise StudyError(
            f"--dictionary {name}: {folder} has {shape[1]} latents, the bench takes at most {MOST_LATENTS}"
        )
