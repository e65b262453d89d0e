"""What a Prefect server does by itself about runs that die: three rules, installed by name, of our deployments alone.

`concepts setup` installs them on the server of PREFECT_API_URL, or brings them up to date. A run whose process is
killed with its worker stays Running for ever. Heartbeats tell such runs from living ones (prefect.yaml and
`concepts serve` set PREFECT_FLOWS_HEARTBEAT_FREQUENCY); one that was killed before it had begun never begins. Crashed
runs are started again, a bounded number of times.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

TAG = "concept-atlas"
HEARTBEAT_SECONDS = 30
SILENT_SECONDS = 3 * HEARTBEAT_SECONDS
START_SECONDS = 300  # importing torch on a busy machine takes a minute
RESTARTS = 3
ENDED = ["prefect.flow-run.Completed", "prefect.flow-run.Failed", "prefect.flow-run.Cancelled"]
WAITING = ["prefect.flow-run.AwaitingConcurrencySlot", "prefect.flow-run.AwaitingRetry", "prefect.flow-run.Scheduled"]
ENDED += ["prefect.flow-run.Crashed", "prefect.flow-run.TimedOut"]
OURS = {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"}


def automations() -> list[Any]:
    """The rules, as Prefect takes them."""
    from prefect.events.schemas.automations import AutomationCore

    return [
        AutomationCore(
            name="concept-atlas: silent runs have crashed",
            description=f"A flow run without a heartbeat for {SILENT_SECONDS} s was killed with its worker.",
            # The first heartbeat follows a run's beginning at once: one that is killed in between has none.
            trigger=_silence(
                ["prefect.flow-run.Running", "prefect.flow-run.heartbeat"],
                ["prefect.flow-run.heartbeat", *WAITING, *ENDED],
                SILENT_SECONDS,
            ),
            actions=[_change("CRASHED", "No heartbeat: the process was killed.")],
        ),
        AutomationCore(
            name="concept-atlas: runs that never start have crashed",
            description=f"A flow run that was taken up and has not begun within {START_SECONDS} s never will.",
            trigger=_silence(
                ["prefect.flow-run.Pending", "prefect.flow-run.Submitting", "prefect.flow-run.InfrastructurePending"],
                ["prefect.flow-run.Running", "prefect.flow-run.heartbeat", *WAITING, *ENDED],
                START_SECONDS,
            ),
            actions=[_change("CRASHED", "It did not begin: the process was killed while it started.")],
        ),
        AutomationCore(
            name="concept-atlas: crashed runs are started again",
            description=f"What was finished is kept, so a crashed run goes on; at most {RESTARTS} times.",
            trigger=_crash_of_a_deployed_run(),
            actions=[_change("SCHEDULED", "Started again after a crash.", name="AwaitingRetry", force=True)],
        ),
    ]


def _silence(after: list[str], expect: list[str], seconds: int) -> Any:
    from prefect.events.schemas.automations import EventTrigger, Posture

    return EventTrigger(
        posture=Posture.Proactive,
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related=OURS,
        for_each={"prefect.resource.id"},
        after=set(after),
        expect=set(expect),
        threshold=1,
        within=timedelta(seconds=seconds),
    )


def _crash_of_a_deployed_run() -> Any:
    """A crash after the run had begun for the first to the last but one time; run-count counts its beginnings."""
    from prefect.events.schemas.automations import EventTrigger, Posture

    counts = [str(count) for count in range(1, RESTARTS + 1)]
    return EventTrigger(
        posture=Posture.Reactive,
        match={"prefect.resource.id": "prefect.flow-run.*", "prefect.run-count": counts},
        match_related=[OURS, {"prefect.resource.role": "deployment", "prefect.resource.id": "prefect.deployment.*"}],
        for_each={"prefect.resource.id"},
        expect={"prefect.flow-run.Crashed"},
        threshold=1,
        within=timedelta(0),
    )


def _change(state: str, message: str, **more: Any) -> Any:
    from prefect.events.actions import ChangeFlowRunState

    return ChangeFlowRunState(state=state, message=message, **more)  # type: ignore[arg-type]


def failures(block: Any) -> Any:
    """The rule that tells of failed runs, by the notification block of this id; off until its operator turns it on."""
    from prefect.events.actions import SendNotification
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    return AutomationCore(
        name="concept-atlas: failed runs are told",
        description="What is told to whom stands in the notification block; off until that is filled in.",
        enabled=False,
        trigger=EventTrigger(
            posture=Posture.Reactive,
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=OURS,
            for_each={"prefect.resource.id"},
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            SendNotification(
                block_document_id=block,
                subject="{{ flow_run.name }}: {{ flow_run.state.name }}",
                body="{{ flow_run.state.message }}\n{{ flow_run | ui_url }}",
            )
        ],
    )


def install() -> None:
    """Create the rules about runs that die on the configured server, or bring them up to date."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        for rule in automations():
            installed(client, rule)


def installed(client: Any, rule: Any) -> str:
    """Have the server keep one rule of this name: what was done. Whether a rule that is there is on stays as it is."""
    known = client.read_automations_by_name(rule.name)
    if len(known) == 1 and _said(known[0]) == _said(rule):
        return "there"
    enabled = known[0].enabled if known else rule.enabled
    for one in known:
        client.delete_automation(one.id)
    client.create_automation(rule.model_copy(update={"enabled": enabled}))
    return "renewed" if known else "made"


def _said(rule: Any) -> dict[str, Any]:
    """What a rule is, as JSON: without its id, its owner and whether it is on."""
    said: dict[str, Any] = rule.model_dump(mode="json", include={"name", "description", "trigger", "actions"})
    for key in ("after", "expect", "for_each"):  # sets, which have no order
        said["trigger"][key] = sorted(said["trigger"][key])
    return said
