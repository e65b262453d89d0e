"""Settings that are younger than a study: one that its configuration does not name stays as the study was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from storage.study import has_study, read_study, with_legacy
from study.config import StudyConfig
from study.errors import StudyError
from study.hashes import ADDED


def with_former_values(root: str | Path, config: StudyConfig) -> StudyConfig:
    """The configuration with each setting of ``ADDED`` that it does not name as the folder's study has it.

    Else its default, which the study never knew, would make every older folder one of another configuration. Raises
    ``StudyError`` where what the study has contradicts what the configuration names.
    """
    if not has_study(root):
        return config
    plain, known = config.model_dump(mode="json"), with_legacy(read_study(root)["config"], ADDED)
    kept: dict[str, Any] = {}
    for key in ADDED:
        *groups, leaf = key.split(".")
        new, old = plain, known
        for group in groups:
            new, old = new[group], old.get(group, {})
        if leaf in old and not _names(config, key) and new[leaf] != old[leaf]:
            kept[key] = new[leaf] = old[leaf]
    return _validated(root, plain, kept) if kept else config


def _validated(root: str | Path, plain: dict[str, Any], kept: dict[str, Any]) -> StudyConfig:
    try:
        return StudyConfig.model_validate(plain)
    except ValidationError as error:
        reason = "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
        named = ", ".join(f"{key} ({value})" for key, value in kept.items())
        raise StudyError(
            f"{root} keeps what the configuration does not name, {named}, and that contradicts what it names "
            f"({reason}): name these settings, null for none"
        ) from error


def _names(settings: Any, key: str) -> bool:
    """Whether a configuration gives a dotted setting itself, not by default."""
    for part in key.split("."):
        if part not in settings.model_fields_set:
            return False
        settings = getattr(settings, part)
    return True
