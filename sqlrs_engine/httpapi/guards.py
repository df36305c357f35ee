"""Checks of a request that come before everything else.

A web page in a browser on this machine can reach the loopback interface. It cannot set
the token, but the guards turn it away earlier: a page on another site sends ``Origin`` or
``Sec-Fetch-Site``, and one whose name was rebound to 127.0.0.1 sends its own ``Host``.
"""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sqlrs_engine.errors import (
    Forbidden,
    InvalidArgument,
    Misdirected,
    PayloadTooLarge,
    RequestTimeout,
)

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
MAX_BODY_BYTES = 64 * 1024 * 1024
BODY_SECONDS = 30.0
STREAM_SECONDS = 3600.0
BODY = "sqlrs_body"

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_ENCODED = re.compile(rb"[!-~]*")
_GUARDED = frozenset(
    {b"host", b"origin", b"sec-fetch-site", b"content-length", b"transfer-encoding"}
)
_FOREIGN = frozenset({b"cross-site", b"same-site"})


@dataclass(slots=True)
class Body:
    """A request's body before it is read, with its limits.

    ``declared`` is the size in bytes, if the request declares it. A ``streamed`` body has no
    limit here, because its reader has one; ``seconds`` then limits the wait for each piece, and
    ``all_seconds`` the time for all of them.
    """

    present: bool
    declared: int | None
    max_bytes: int
    seconds: float
    streamed: bool = False
    all_seconds: float = STREAM_SECONDS

    def check(self, size: int = 0) -> None:
        """Raise PayloadTooLarge if this size in bytes, or the declared one, is over the limit."""
        if not self.streamed and max(size, self.declared or 0) > self.max_bytes:
            raise PayloadTooLarge(
                "the request body is too large", f"at most {self.max_bytes} bytes are accepted"
            )

    def deadline(self, began: float, now: float) -> float:
        """Return the time by which the next piece must have arrived."""
        if self.streamed:
            return min(now + self.seconds, began + self.all_seconds)
        return began + self.seconds


class Guards:
    """ASGI middleware that rejects requests by host, origin, text, size and speed.

    ``hosts`` are the accepted host names, without ports, besides the loopback names.
    ``max_body`` is in bytes; ``body_seconds`` limits the time for sending a body.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Iterable[str] = (),
        max_body: int = MAX_BODY_BYTES,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self._app = app
        self._hosts = frozenset(name.lower().encode() for name in (*LOOPBACK_HOSTS, *hosts))
        self._last_host = b""  # that was accepted: clients send the same again and again
        self._max_body = max_body
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with its ``Body`` in the scope.

        Raises Misdirected, Forbidden or InvalidArgument. Reading the body raises
        PayloadTooLarge, RequestTimeout or ClientDisconnect.
        """
        hosts: list[bytes] = []
        length: bytes | None = None
        has_body = False
        for name, value in scope["headers"]:
            if name not in _GUARDED:
                continue
            if name == b"host":
                hosts.append(value)
            elif name == b"origin":
                raise Forbidden(
                    "requests from web pages are not allowed: call the engine from a program",
                    "Origin header present",
                )
            elif name == b"sec-fetch-site":
                if value.strip().lower() in _FOREIGN:
                    raise Forbidden(
                        "requests from other sites are not allowed: call the engine from a program",
                        "Sec-Fetch-Site",
                    )
            elif name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                has_body = True
        self._check_host(hosts)
        _check_text("path", scope.get("raw_path") or b"")
        if scope["query_string"]:
            _check_text("query", scope["query_string"])
        declared = None if length is None else _content_length(length)
        has_body = has_body or bool(declared)
        body = Body(has_body, declared, self._max_body, self._body_seconds)
        scope.setdefault("extensions", {})[BODY] = body
        await self._app(scope, _bounded(receive, body) if has_body else receive, send)

    def _check_host(self, hosts: list[bytes]) -> None:
        if len(hosts) != 1:
            raise InvalidArgument(
                "the request must have exactly one Host header", "RFC 9112, section 3.2"
            )
        if hosts[0] == self._last_host:
            return
        match = _HOST.fullmatch(hosts[0])
        if match is None or match[1].lower() not in self._hosts:
            raise Misdirected(
                "this engine does not serve that host",
                "send a Host header with 127.0.0.1, localhost or the name it listens on",
            )
        self._last_host = hosts[0]


def _bounded(receive: Receive, body: Body) -> Receive:
    """Wrap ``receive`` to enforce the limits of size and time."""
    time = asyncio.get_running_loop().time
    began = time()
    size = 0
    complete = False

    async def bounded() -> Message:
        nonlocal size, complete
        if complete:
            return await receive()
        body.check()
        try:
            async with asyncio.timeout_at(body.deadline(began, time())):
                message = await receive()
        except TimeoutError:
            raise RequestTimeout(
                "the request body did not arrive in time: send it faster",
                f"{'each piece' if body.streamed else 'it'} may take {body.seconds:g} seconds",
            ) from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        size += len(message.get("body", b""))
        body.check(size)
        complete = not message.get("more_body", False)
        return message

    return bounded


def _check_text(part: str, raw: bytes) -> None:
    """Raise InvalidArgument unless this is percent-encoded UTF-8 without NUL characters."""
    raw = raw.partition(b"?")[0] if part == "path" else raw
    if _ENCODED.fullmatch(raw) is None:
        raise InvalidArgument(f"invalid {part}", "characters outside ASCII must be percent-encoded")
    if b"%" not in raw:
        return
    decoded = unquote_to_bytes(raw)
    try:
        decoded.decode()
    except UnicodeDecodeError:
        raise InvalidArgument(f"invalid {part}", "encode it in UTF-8") from None
    if b"\0" in decoded:
        raise InvalidArgument(f"invalid {part}", "remove the NUL character")


def _content_length(value: bytes) -> int:
    if not value.isdigit():
        raise InvalidArgument("invalid Content-Length", "it must be a number of bytes")
    return int(value[:20])
