"""A load generator: as many requests a second as a server answers on some connections.

One process, raw sockets on uvloop, keep-alive, no pipelining: it costs a fraction of what
a Python server does, so that on two cores the server is what is measured.
"""

import asyncio
import re
import time
from urllib.parse import urlsplit

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
PATIENCE = 30.0
_LAST_CHUNK = b"0\r\n\r\n"


class RefusedError(RuntimeError):
    """A server answered something else than 200."""


class _Connection(asyncio.Protocol):
    """Sends the same request again as soon as its answer is complete."""

    def __init__(self, request: bytes, seconds: float, samples: list[float]) -> None:
        self._request = request
        self._seconds = seconds
        self._samples = samples
        self._received = bytearray()
        self._missing: int | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._deadline = time.perf_counter() + self._seconds
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._missing is None:
            self._read_head()
        elif self._missing > 0:
            self._missing -= len(data)
        chunked = self._missing == -1
        if chunked and not self._received.endswith(_LAST_CHUNK):
            return
        if self._missing == 0 or chunked:
            now = time.perf_counter()
            self._samples.append((now - self._sent) * 1000)
            if now < self._deadline:
                self._send()
            else:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            error = exc or ConnectionError("the server closed the connection")
            if time.perf_counter() < self._deadline:
                self.ended.set_exception(error)
            else:
                self.ended.set_result(None)

    def _send(self) -> None:
        self._received.clear()
        self._missing = None
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def _read_head(self) -> None:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[: end + 2])
        if not head.startswith(b"HTTP/1.1 200"):
            self.ended.set_exception(RefusedError(head.partition(b"\r\n")[0].decode()))
            self._transport.abort()
            return
        length = _LENGTH.search(head)
        # -1: chunked, so its end is looked for.
        self._missing = int(length[1]) - (len(self._received) - end - 4) if length else -1


async def _run(url: str, token: str, connections: int, seconds: float) -> list[float]:
    parts = urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    samples: list[float] = []
    made = [
        await loop.create_connection(
            lambda: _Connection(request, seconds, samples), parts.hostname, parts.port
        )
        for _ in range(connections)
    ]
    try:
        async with asyncio.timeout(seconds + PATIENCE):
            await asyncio.gather(*(protocol.ended for _, protocol in made))
    finally:
        for transport, _ in made:
            transport.abort()
        await asyncio.sleep(0)  # lets the sockets be closed
    return samples


def latencies(url: str, token: str, *, connections: int, seconds: float) -> list[float]:
    """GET ``url`` over and over; return how long each answer took, in milliseconds.

    Raises RefusedError when an answer is not 200.
    """
    return uvloop.run(_run(url, token, connections, seconds))
