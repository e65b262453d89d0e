"""What stands before every page: only this machine may ask, nothing is written, nothing comes from elsewhere."""

from __future__ import annotations

from typing import Any

HOSTS = {"localhost", "127.0.0.1", "[::1]"}
LONGEST_ADDRESS = 4096  # bytes of path and query together
HEADERS = {
    "content-security-policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


class Guard:
    """An ASGI application before another one.

    The Host header is compared because a page elsewhere can have its own name resolved to this machine (DNS rebinding)
    and would then read the answers; any port will do, since a tunnel may lead here from another one.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer what is refused, and hand on the rest."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        said = _refused(scope)
        if said is not None:
            return await _say(*said, send)

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_headers()]}
            await send(message)

        return await self._app(scope, receive, guarded)


def host_name(value: str) -> str:
    """The name in a Host header, without its port, in small letters."""
    name = value.strip().lower()
    if name.startswith("["):
        return name[: name.find("]") + 1]
    return name.partition(":")[0]


def _refused(scope: Any) -> tuple[int, str] | None:
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1 or host_name(hosts[0]) not in HOSTS:
        return 421, "This server answers to localhost alone.\n"
    if scope["method"] != "GET":
        return 405, "Pages can be read, with GET, and nothing else.\n"
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > LONGEST_ADDRESS:
        return 414, "The address is too long.\n"
    return None


async def _say(status: int, words: str, send: Any) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *_headers()]
    if status == 405:
        headers.append((b"allow", b"GET"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": words.encode()})


def _headers() -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in HEADERS.items()]
