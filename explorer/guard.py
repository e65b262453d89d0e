"""What stands before every page: only this machine may ask, only an edit is posted, nothing comes from elsewhere."""

from __future__ import annotations

from typing import Any

HOSTS = {"localhost", "127.0.0.1", "[::1]"}
LONGEST_ADDRESS = 4096  # bytes of path and query together
EDITING, LONGEST_REQUEST = "/edit", 16384  # the one address that takes a POST, and its bytes
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
    if scope["method"] == "POST" and scope["path"] == EDITING:
        return _refused_post(scope)
    if scope["method"] != "GET":
        return 405, "Pages can be read, with GET, and nothing else.\n"
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > LONGEST_ADDRESS:
        return 414, "The address is too long.\n"
    return None


def _refused_post(scope: Any) -> tuple[int, str] | None:
    """An edit is asked for by the explorer's own page: in JSON, of a size that is told, from nowhere else.

    A page elsewhere can send neither that type nor the token, which the application compares, without asking first
    with OPTIONS, and is refused then.
    """
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    if headers.get(b"content-type", "").partition(";")[0].strip() != "application/json":
        return 415, "An edit is asked for in JSON.\n"
    origin = headers.get(b"origin", "http://localhost")
    if host_name(origin.partition("://")[2]) not in HOSTS:
        return 403, "An edit is asked for by the explorer's own page alone.\n"
    size = headers.get(b"content-length", "")
    if not size.isdigit() or len(size) > 9 or int(size) > LONGEST_REQUEST:
        return 413, "The request is too long.\n"
    return None


async def _say(status: int, words: str, send: Any) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *_headers()]
    if status == 405:
        headers.append((b"allow", b"GET"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": words.encode()})


def _headers() -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in HEADERS.items()]
