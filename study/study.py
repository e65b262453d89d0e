"""What every other module of this room is handed: a configuration, the folder it fills and its hash."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, overload

from storage.site import Site
from study.config import StudyConfig
from study.hashes import stage_hashes

if TYPE_CHECKING:
    from study.at import AtSite, Dictionary


@dataclass(frozen=True)
class Study:
    """A configuration and the folder it fills. Small and picklable: tasks receive it instead of data.

    ``source``: digest of the captions' files, if what they have gained is to be taken in (a study that grows).
    ``recorded``: the configuration with the paths that ``study.yaml`` has, if the same files lie elsewhere now.
    """

    root: str
    config: StudyConfig
    config_hash: str
    recorded: StudyConfig | None = None
    source: str | None = None

    @property
    def identity(self) -> StudyConfig:
        """The configuration as the study knows it: what hashes are of."""
        return self.recorded or self.config

    def hash_of(self, stage: str) -> str:
        """Hash of all that a stage's results follow from; its completion records carry it."""
        from study.grown import with_data  # reads of the stages' units, which read of studies

        return with_data(self, stage, self._hashes[stage])

    @cached_property
    def _hashes(self) -> dict[str, str]:
        return stage_hashes(self.identity)

    @overload
    def at(self, site: tuple[str, float, str], k: None = None) -> AtSite: ...

    @overload
    def at(self, site: tuple[str, float, str], k: int) -> Dictionary: ...

    def at(self, site: tuple[str, float, str], k: int | None = None) -> AtSite:
        """The handle of a site or, with ``k``, of one of its dictionaries."""
        from study.at import AtSite, Dictionary  # imports torch, which who only asks what is done does not need

        return AtSite(self, Site(*site)) if k is None else Dictionary(self, Site(*site), k)
