"""HTTP/1.1 below ASGI: what must be bounded before a request has become one.

uvicorn hands a request over when its headers are complete and waits for them for ever.
Here a client that sends them too slowly, or too many, is answered and cut off.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..errors import EngineError, InvalidArgument, RequestTimeout
from .errors import error_reply

HEADER_SECONDS = 10.0
MAX_HEADER_BYTES = 64 * 1024


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits, for ``uvicorn.Config(http=GuardedProtocol)``."""

    header_seconds = HEADER_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._in_headers = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first request its time."""
        super().connection_made(transport)
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._stop_deadline()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Give a further request its time, counted from its first byte."""
        super().on_message_begin()
        self._in_headers = True
        self._header_bytes = 0
        if self._deadline is None:
            self._start_deadline()

    def on_url(self, url: bytes) -> None:
        """Count it in."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count it in."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The rest of the request is the guards' business."""
        self._stop_deadline()
        self._in_headers = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(InvalidArgument("the request is not valid HTTP/1.1", msg))

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            # Raised through the parser, which makes it a request that is not valid.
            raise InvalidArgument("the request's headers are too large")

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(self.header_seconds, self._on_deadline)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._in_headers:
            self._refuse(RequestTimeout("the request's headers did not arrive in time"))
        else:
            self.transport.close()  # it never asked for anything

    def _refuse(self, error: EngineError) -> None:
        reply = error_reply(error, [(b"connection", b"close")])
        head = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n".encode()
        lines = [b"%s: %s\r\n" % header for header in dict(reply.headers).items()]
        self.transport.write(b"".join([head, *lines, b"\r\n", reply.body]))
        self.transport.close()
