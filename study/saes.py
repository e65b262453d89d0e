"""The SAEs that a study has trained, read as their records vouch for them."""

from __future__ import annotations

from pathlib import Path

from sae.io import CONFIG, WEIGHTS, load_sae
from sae.members import Member
from sae.model import SAE
from storage.records import read_record
from storage.vouch import vouched_files
from study.errors import StudyError
from study.paths import (
    Site,
    sae_folder,
    series_name,
    unit_name,
)
from study.store import store_of
from study.study import Study

TRAINED, UNTRAINED, FROZEN, SHARED = "trained", "untrained", "frozen", "shared"


def kind_folder(study: Study, site: Site, k: int, kind: str) -> Path:
    """Folder of a dictionary or of a relative of it."""
    folder = sae_folder(study, site, k)
    return folder if kind == TRAINED else folder / kind


def has_sae(study: Study, site: Site, k: int, kind: str) -> bool:
    """Whether the site's record names an SAE of that kind; whether its files are there is ``sae_of``'s to say."""
    return _below_root(study, kind_folder(study, site, k, kind) / WEIGHTS) in _named(study, site, k, kind)


def sae_of(study: Study, site: Site, k: int, kind: str = TRAINED) -> SAE:
    """An SAE of the study, its files compared with the record of the unit that wrote them.

    Raises ``StudyError`` if no record names it, ``SAEError`` for a file that is missing or damaged.
    """
    folder = kind_folder(study, site, k, kind)
    named = _named(study, site, k, kind)
    digests = {name: named.get(_below_root(study, folder / name)) for name in (WEIGHTS, CONFIG)}
    if digests[WEIGHTS] is None:
        raise StudyError(f"{folder} holds no SAE that a record names: run `concepts train`")
    # Records of the first format named weights alone: what they left out is read as it is.
    return load_sae(folder, {name: digest for name, digest in digests.items() if digest is not None})


def _named(study: Study, site: Site, k: int, kind: str) -> dict[str, str]:
    stage, unit = ("share", series_name(site[0], site[2])) if kind == SHARED else ("train", unit_name(site, k))
    return vouched_files(read_record(study.root, stage, unit) or {})


def _below_root(study: Study, path: Path) -> str:
    return path.relative_to(study.root).as_posix()


def member_folder(study: Study, site: Site, member: Member) -> Path:
    """``k<k>/`` for a dictionary; below it ``x<expansion>``, ``seed<seed>`` and ``frozen`` for the others."""
    channels = store_of(study).shape(site)[2]
    folder = sae_folder(study, site, member.k)
    if member.n != study.config.sae.expansion[0] * channels:
        folder = folder / f"x{member.n // channels}"
    if member.seed != study.config.seed:
        folder = folder / f"seed{member.seed}"
    return folder / FROZEN if member.frozen else folder
