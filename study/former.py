"""Settings that are younger than a study: one that its configuration does not name stays as the study was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storage.study import has_study, read_study, with_legacy
from study.config import StudyConfig
from study.hashes import ADDED


def with_former_values(root: str | Path, config: StudyConfig) -> StudyConfig:
    """The configuration with each setting of ``ADDED`` that it does not name as the folder's study has it.

    Else its default, which the study never knew, would make every older folder one of another configuration.
    """
    if not has_study(root):
        return config
    plain, known = config.model_dump(mode="json"), with_legacy(read_study(root)["config"], ADDED)
    for key in ADDED:
        *groups, leaf = key.split(".")
        new, old = plain, known
        for group in groups:
            new, old = new[group], old.get(group, {})
        if leaf in old and not _names(config, key):
            new[leaf] = old[leaf]
    return config if plain == config.model_dump(mode="json") else StudyConfig.model_validate(plain)


def _names(settings: Any, key: str) -> bool:
    """Whether a configuration gives a dotted setting itself, not by default."""
    for part in key.split("."):
        if part not in settings.model_fields_set:
            return False
        settings = getattr(settings, part)
    return True
