"""What every other module of this room is handed: a configuration, the folder it fills and its hash."""

from __future__ import annotations

from dataclasses import dataclass

from study.config import StudyConfig
from study.hashes import stage_hash


@dataclass(frozen=True)
class Study:
    """A configuration and the folder it fills. Small and picklable: tasks receive it instead of data.

    ``recorded``: the configuration with the paths that ``study.yaml`` has, if the same files lie elsewhere now.
    """

    root: str
    config: StudyConfig
    config_hash: str
    recorded: StudyConfig | None = None

    @property
    def identity(self) -> StudyConfig:
        """The configuration as the study knows it: what hashes are of."""
        return self.recorded or self.config

    def hash_of(self, stage: str) -> str:
        """Hash of all that a stage's results follow from; its completion records carry it."""
        return stage_hash(self.identity, stage)
