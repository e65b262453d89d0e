"""``concepts setup``: what a Prefect server needs besides deployments, made once; a second time changes nothing.

The work pool, the rules about runs that die, a notification of failed runs that its operator fills and turns on; if
asked for, a second pool for workers with a GPU, and the rules by which stages start each other.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from flows.automations import automations, failures, installed
from flows.deployments import GPU_POOL, POOL
from flows.environment import prepare
from study.errors import StudyError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

BLOCK = "concept-atlas-failures"
NOWHERE = "http://127.0.0.1:9/fill-in-where-failures-are-told"


def run(options: argparse.Namespace) -> int:
    """The command: say what was done. Raises ``StudyError`` without a server that is to be set up."""
    prepare()
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        raise StudyError(
            "no server to be set up: start one (`concepts server`), and set PREFECT_API_URL to its address"
        )
    for line in set_up(options.chain, options.gpu):
        print(line)
    return 0


def set_up(with_chain: bool, with_gpu_pool: bool = False) -> list[str]:
    """Make what is missing on the configured server. Returns what was done and what is left to do, a line each.

    Raises ``StudyError`` if stages are to be chained that have no deployment there.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return list(_steps(client, with_chain, [POOL, GPU_POOL] if with_gpu_pool else [POOL]))


def _steps(client: SyncPrefectClient, with_chain: bool, pools: list[str]) -> Iterator[str]:
    from flows.chain import chain

    rules = chain(client) if with_chain else []  # first: without its deployments nothing is done
    for pool in pools:
        yield f"work pool {pool}: {_pool(client, pool)}"
    for rule in [*automations(), failures(_block(client)), *rules]:
        yield f"{rule.name}: {installed(client, rule)}"
    yield _notifications(client)
    yield _retention(client)


def _pool(client: SyncPrefectClient, name: str) -> str:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template))
        return "made"
    return "there"


def _block(client: SyncPrefectClient) -> Any:
    """The id of the block that says where failures are told; one that is there is its operator's."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_block_document_by_name(BLOCK, "custom-webhook").id
    except ObjectNotFound:
        told = {"text": "{{subject}}\n{{body}}"}
        return CustomWebhookNotificationBlock(name=BLOCK, url=NOWHERE, json_data=told).save(BLOCK)


def _notifications(client: SyncPrefectClient) -> str:
    document = client.read_block_document_by_name(BLOCK, "custom-webhook")
    (rule,) = client.read_automations_by_name(failures(document.id).name)
    if rule.enabled and document.data.get("url") != NOWHERE:
        return f"failures are told as the block {BLOCK} says"
    return (
        f"failures are told to nobody: in the UI, give the block {BLOCK} the address of a webhook, and turn the "
        f"automation {rule.name!r} on"
    )


def _retention(client: SyncPrefectClient) -> str:
    """What the server says of its own settings: no client can change them."""
    settings = client.request("GET", "/admin/settings").json()["server"]["services"]["db_vacuum"]
    days = TypeAdapter(timedelta).validate_python(settings["retention_period"]) / timedelta(days=1)
    if "flow_runs" in (settings["enabled"] if isinstance(settings["enabled"], list) else []):
        return f"runs that ended {days:g} days ago are forgotten by the server; studies are not its matter"
    return (
        "the server keeps its runs for ever: where it starts, set PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED to "
        "events,flow_runs and PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD to seconds"
    )
