"""Asking the application for its pages in this process, without a server."""

from __future__ import annotations

import asyncio
import html
import re
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

from concept_atlas import AtlasError

SAID = re.compile(rb"<h1>Not there</h1>\s*<p>(.*?)</p>", re.DOTALL)


class Asking:
    """An application and the loop that it runs in, while a ``with`` lasts."""

    def __init__(self, app: Any) -> None:
        self._app, self._runner = app, asyncio.Runner()

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._runner.close()

    def __call__(self, address: str) -> bytes:
        """What is answered. Raises ``AtlasError`` with the page's own sentence where that is no page."""
        status, body = self._runner.run(self._answer(address))
        if status != 200:
            said = SAID.search(body)
            why = html.unescape(said[1].decode()) if said else f"it answers {status}"
            raise AtlasError(f"the page {address} cannot be made: {why}")
        return body

    async def _answer(self, address: str) -> tuple[int, bytes]:
        parts, status, body = urlsplit(address), 0, bytearray()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            body.extend(message.get("body", b""))

        await self._app(_scope(parts.path, parts.query), receive, send)
        return status, bytes(body)


def _scope(path: str, query: str) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": quote(path).encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 80),
    }
