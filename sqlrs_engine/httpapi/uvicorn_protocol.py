"""HTTP/1.1 below ASGI: limits that apply before a request's headers are complete.

uvicorn passes a request on when its headers are complete, and waits for them forever. This
protocol answers and disconnects a client that sends them too slowly, or too many. A server may
ignore a request to switch to another protocol, such as HTTP/2 (RFC 9110, section 7.8), and this
one does. It also ignores fields that come after the body (section 6.5).
"""

import asyncio
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sqlrs_engine.errors import (
    EngineError,
    HeadersTooLarge,
    InvalidArgument,
    RequestTimeout,
    Unavailable,
)

from .errors import error_reply

HEADER_SECONDS = 10.0
MAX_HEADER_BYTES = 64 * 1024
MAX_CONNECTIONS = 1000
MAX_REFUSED = 50
LINGER_SECONDS = 2.0
LINGER_BYTES = 1024 * 1024
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits, for ``uvicorn.Config(http=GuardedProtocol)``."""

    header_seconds = HEADER_SECONDS
    max_connections = MAX_CONNECTIONS
    max_refused = MAX_REFUSED

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._unreported = 0  # bytes that the parser may be keeping
        self._in_headers = False
        self._is_resuming = False
        self._left_to_ignore: int | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit of the first request; refuse connections beyond the limit."""
        super().connection_made(transport)
        self._start_deadline()
        beyond = len(self.connections) - self.max_connections
        if beyond > self.max_refused:
            transport.abort()  # each answer takes a descriptor for a while, too
        elif beyond > 0:
            self._refuse(
                Unavailable(
                    "too many connections: close some, then try again",
                    f"at most {self.max_connections} are served at once",
                )
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadline."""
        self._stop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data as HTTP/1.1, whatever protocol the client asks for."""
        if self._left_to_ignore is not None:
            self._ignore(len(data))
            return
        # The parser reports a header when it is complete, and keeps it until then; those that
        # come after the body, too.
        if self._unreported > MAX_HEADER_BYTES:
            self._refuse(_too_large())
            return
        self._unreported += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response("it cannot be parsed")
            return
        # Most requests arrive whole: they need no timer.
        if self._in_headers and self._deadline is None:
            self._start_deadline()

    def _feed(self, data: bytes) -> None:
        # Requests may follow each other in the same data: a view, and no recursion.
        rest = memoryview(data)
        while True:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                # The parser takes what follows the headers for another protocol. It is the
                # body, and a parser that does not know of the upgrade can continue with it.
                rest = rest[upgrade.args[0] :]
                self._resume_with_body()
            else:
                return

    def _resume_with_body(self) -> None:
        framing = [b"%s: %s\r\n" % field for field in self.headers if field[0] in _FRAMING]
        self.parser = httptools.HttpRequestParser(self)
        self._is_resuming = True
        self.parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *framing, b"\r\n"]))
        self._is_resuming = False

    def on_message_begin(self) -> None:
        """Reset the counters for the next request, whose time limit starts at its first byte."""
        if self._is_resuming:
            return
        # Not at any data: the rest of a body that was refused has no longer than a new request.
        self._unset_keepalive_if_required()
        super().on_message_begin()
        self._in_headers = True
        self._header_bytes = self._unreported = 0

    def on_url(self, url: bytes) -> None:
        """Count the bytes of the target."""
        if self._is_resuming:
            return
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count the bytes of a header, and ignore it if it comes after the body."""
        self._unreported = 0
        if not self._in_headers:
            return
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End the time limit; the guards limit the rest of the request."""
        if self._is_resuming:
            return
        self._stop_deadline()
        self._in_headers = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body on; its reader limits the size."""
        self._unreported = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request, unless its body is still to be parsed."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that is not HTTP or has too many headers."""
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(_too_large())
        else:
            self._refuse(InvalidArgument("the request is not valid HTTP/1.1", msg))

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            raise _too_large()  # which stops the parser; the answer is given when it has

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
            self._refuse(
                RequestTimeout("the request's headers did not arrive in time: send them faster")
            )
        else:
            self.transport.close()  # it never asked for anything

    def _refuse(self, error: EngineError) -> None:
        reply = error_reply(error, [(b"connection", b"close")])
        head = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n".encode()
        lines = [b"%s: %s\r\n" % header for header in dict(reply.raw_headers).items()]
        self.transport.write(b"".join([head, *lines, b"\r\n", reply.body]))
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()
            return
        # Closed with something unread, a connection is reset, and the answer may be lost on
        # its way: what the client still sends is read for a while, to no effect.
        self.transport.write_eof()
        self._left_to_ignore = LINGER_BYTES
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _ignore(self, size: int) -> None:
        self._left_to_ignore = (self._left_to_ignore or 0) - size
        if self._left_to_ignore < 0:
            self.transport.close()


def _too_large() -> HeadersTooLarge:
    return HeadersTooLarge(
        "the request's headers are too large: send large values in the body",
        f"at most {MAX_HEADER_BYTES} bytes are accepted",
    )
