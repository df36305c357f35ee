"""A proxy before a registry that fails as networks and registries do, when it is asked to.

``FaultyRegistry.requests`` lists what clients have asked for, and how many bytes they got.
"""

import contextlib
import http.client
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support.registry import Registry

BLOB = r"/blobs/sha256:"
MANIFEST = r"/manifests/"
_CHUNK = 16 * 1024
_HOP = {"connection", "keep-alive", "transfer-encoding", "host"}


@dataclass
class Fault:
    """What happens to the next ``times`` GETs of paths that match ``path``.

    All others are passed through. ``cut_after`` closes the connection after so many bytes of the
    body, ``corrupt_at`` inverts the byte at this offset, ``without_range`` answers with the whole
    blob whatever part was asked for, ``status`` answers so instead of the registry.
    ``hold_after`` stands still after so many bytes until ``release`` is set; ``held`` is set then.
    ``pause`` is the time between two chunks of 16 KiB, in seconds.
    """

    path: str
    times: int | None = 1
    cut_after: int | None = None
    corrupt_at: int | None = None
    without_range: bool = False
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    hold_after: int | None = None
    pause: float = 0
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    hits: int = 0


@dataclass
class Seen:
    """A request that came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    status: int = 0
    sent: int = 0  # bytes of the body

    @property
    def range(self) -> str | None:
        """The part of the blob that was asked for."""
        return self.headers.get("range")


class FaultyRegistry:
    """The proxy: a registry with its own port, and the faults that wait to happen."""

    def __init__(self, upstream: Registry, address: str = "127.0.0.1") -> None:
        self.upstream = upstream
        self.requests: list[Seen] = []
        self.faults: list[Fault] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._server = _Server((address, 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def port(self) -> int:
        """The port of the proxy."""
        return int(self._server.server_address[1])

    @property
    def host(self) -> str:
        """How image references begin."""
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        """The address of the API."""
        return f"http://127.0.0.1:{self.port}"

    def add(self, path: str, **fields: Any) -> Fault:
        """Let a fault happen, after those that were added before it."""
        fault = Fault(path, **fields)
        self.faults.append(fault)
        return fault

    def clear(self) -> None:
        """Forget all requests, and end all faults."""
        for fault in self.faults:
            fault.release.set()
        self.faults.clear()
        self.requests.clear()

    def gets(self, path: str = BLOB) -> list[Seen]:
        """Return the GETs of paths that match, in their order."""
        return [each for each in self.requests if each.method == "GET" and _in(path, each.path)]

    def sent(self, path: str = BLOB) -> int:
        """Return how many bytes of bodies have gone out for paths that match."""
        return sum(each.sent for each in self.gets(path))

    def close(self) -> None:
        """End the proxy, also what stands still."""
        self._stopped.set()
        self.clear()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def fault_for(self, method: str, path: str) -> Fault | None:
        """Return the fault that this request meets, and count it."""
        with self._lock:
            for fault in self.faults if method == "GET" else ():
                if _in(fault.path, path) and (fault.times is None or fault.hits < fault.times):
                    fault.hits += 1
                    return fault
        return None

    def wait(self, fault: Fault, seconds: float | None = None) -> None:
        """Stand still until the fault is over or the proxy ends."""
        if seconds is not None:
            fault.release.wait(seconds)
            return
        fault.held.set()
        while not self._stopped.is_set() and not fault.release.wait(0.05):
            pass


def _in(pattern: str, path: str) -> bool:
    return re.search(pattern, path) is not None


@contextlib.contextmanager
def faulty(upstream: Registry, address: str = "127.0.0.1") -> Iterator[FaultyRegistry]:
    """Run a proxy before a registry, on an address of this machine."""
    proxy = FaultyRegistry(upstream, address)
    try:
        yield proxy
    finally:
        proxy.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what goes wrong, but not that a client has left: that is part of the tests."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler(proxy: FaultyRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.command, self.path, headers)
            proxy.requests.append(seen)
            fault = proxy.fault_for(self.command, self.path)
            # A client that leaves is one of the things that happen here.
            with contextlib.suppress(ConnectionError, TimeoutError):
                if fault is not None and fault.status is not None:
                    self._answer(seen, fault.status, fault.headers, fault.body or b"")
                else:
                    self._forward(seen, fault)

        do_HEAD = do_GET  # noqa: N815

        def _answer(self, seen: Seen, status: int, headers: Mapping[str, str], body: bytes) -> None:
            seen.status = status
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _forward(self, seen: Seen, fault: Fault | None) -> None:
            headers = {name: value for name, value in seen.headers.items() if name not in _HOP}
            if fault is not None and fault.without_range:
                headers.pop("range", None)
            # The host names the registry in the realms and addresses that it gives out.
            headers["host"] = seen.headers.get("host", "")
            connection = http.client.HTTPConnection("127.0.0.1", proxy.upstream.port, timeout=60)
            with contextlib.closing(connection):
                connection.request(seen.method, seen.path, headers=headers)
                answer = connection.getresponse()
                seen.status = answer.status
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _HOP | {"date", "server"}:
                        self.send_header(name, value)
                if answer.getheader("Content-Length") is None:
                    self.close_connection = True
                    self.send_header("Connection", "close")
                self.end_headers()
                if seen.method == "GET":
                    self._pass(answer, seen, fault)

        def _pass(self, answer: http.client.HTTPResponse, seen: Seen, fault: Fault | None) -> None:
            while chunk := answer.read(_CHUNK if fault is not None else 16 * _CHUNK):
                if fault is not None:
                    chunk = self._change(chunk, seen.sent, fault)
                self.wfile.write(chunk)
                seen.sent += len(chunk)
                if fault is None:
                    continue
                if fault.cut_after is not None and seen.sent >= fault.cut_after:
                    self.close_connection = True
                    return
                if fault.hold_after is not None and seen.sent >= fault.hold_after:
                    proxy.wait(fault)
                if fault.pause:
                    proxy.wait(fault, fault.pause)

        def _change(self, chunk: bytes, begin: int, fault: Fault) -> bytes:
            if fault.cut_after is not None:
                chunk = chunk[: fault.cut_after - begin]
            if fault.corrupt_at is not None and begin <= fault.corrupt_at < begin + len(chunk):
                changed = bytearray(chunk)
                changed[fault.corrupt_at - begin] ^= 0xFF
                chunk = bytes(changed)
            return chunk

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet: the tests look at ``requests``."""

    return Handler
