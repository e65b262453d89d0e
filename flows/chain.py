"""Stages that start each other on a server: a finished run of a stage's deployment starts the next stage's.

An alternative to the whole study as one run, where stages run on different pools or are looked at in between. One rule
for each pair of stages that follow each other; the next run has the parameters of the one that ended. The stages within
a run of the whole study belong to no deployment, and start nothing.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from flows.automations import OURS
from study.errors import StudyError
from study.stages import COMMANDS

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

PREFIX = "concept-atlas: chain"


def chain(client: SyncPrefectClient) -> list[Any]:
    """The rules, in the order of the stages. Raises ``StudyError`` where a stage has no deployment on the server."""
    names = list(COMMANDS)
    ids = {name: _deployment(client, name) for name in names}
    return [_rule(name, ids[name], after, ids[after]) for name, after in pairwise(names)]


def _deployment(client: SyncPrefectClient, name: str) -> UUID:
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name(f"{name}/{name}").id
    except ObjectNotFound as error:
        raise StudyError(
            f"the server has no deployment {name}/{name}, which a chain needs: run `prefect --no-prompt deploy --all`"
        ) from error


def _rule(name: str, ended: UUID, after: str, started: UUID) -> Any:
    from prefect.events.actions import RunDeployment
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    return AutomationCore(
        name=f"{PREFIX}: {after} follows {name}",
        description=f"A completed run of the deployment {name} starts {after}, with the same parameters.",
        trigger=EventTrigger(
            posture=Posture.Reactive,
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=[
                OURS,
                {"prefect.resource.role": "deployment", "prefect.resource.id": f"prefect.deployment.{ended}"},
            ],
            for_each={"prefect.resource.id"},
            expect={"prefect.flow-run.Completed"},
            threshold=1,
            within=timedelta(0),
        ),
        actions=[RunDeployment(source="selected", deployment_id=started, parameters=_same_parameters())],
    )


def _same_parameters() -> dict[str, Any]:
    """Templates of the parameters that every stage has; a list or nothing goes through JSON."""

    def of(name: str) -> dict[str, Any]:
        template = f"{{{{ flow_run.parameters.get('{name}') | tojson }}}}"
        return {"__prefect_kind": "json", "value": {"__prefect_kind": "jinja", "template": template}}

    return {name: of(name) for name in ("config_path", "root", "overrides")}
