"""A double of a registry for edge cases of the protocol: it answers what a test lets it answer.

What it has been given it serves as registries do. Rules come first: each answers the next requests
that match it in its own way, or leaves them to the following ones.
"""

import contextlib
import re
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support.images import TYPES, Image, Index

BLOBS = "/blobs/"
MANIFESTS = "/manifests/"


@dataclass(frozen=True)
class Request:
    """A request that came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def authorization(self) -> str | None:
        """The credentials that were sent."""
        return self.headers.get("authorization")


@dataclass(frozen=True)
class Answer:
    """An answer; ``cut_after`` closes the connection after so many bytes of the body.

    ``hold_after`` stands still after so many bytes, until ``release`` is set.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    hold_after: int | None = None
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


Act = Callable[[Request], Answer | None]


@dataclass
class Rule:
    """How the next ``times`` requests of paths that match are answered; all, if that is None."""

    pattern: str
    act: Act
    times: int | None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Report errors, but not that a client has left."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class RegistryDouble:
    """The server, on a loopback port of its own."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self._rules: list[Rule] = []
        self._contents: dict[str, tuple[bytes, str]] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def host(self) -> str:
        """How image references begin."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The address."""
        return f"http://{self.host}"

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def serve(self, repository: str, tag: str, image: Image | Index) -> str:
        """Have an image, and return its reference."""
        for each in image.images if isinstance(image, Index) else (image,):
            for blob in (*each.layers, each.config):
                self.put(f"/v2/{repository}/blobs/{blob.digest}", b"".join(blob.chunks()), "")
            self._put_manifest(repository, each.digest, each)
        self._put_manifest(repository, image.digest, image)
        self._put_manifest(repository, tag, image)
        return f"{self.host}/{repository}:{tag}"

    def put(self, path: str, content: bytes, media_type: str) -> None:
        """Have a content at a path."""
        self._contents[path] = (content, media_type)

    def rule(self, pattern: str, act: Act | Answer, times: int | None = 1) -> None:
        """Answer the next requests of paths that match; rules that were added before come first."""
        fixed = act if callable(act) else lambda _: act
        self._rules.append(Rule(pattern, fixed, times))

    def seen(self, pattern: str = "", method: str = "GET") -> list[Request]:
        """Return the requests of paths that match."""
        return [
            each
            for each in self.requests
            if each.method == method and re.search(pattern, each.path)
        ]

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request."""
        with self._lock:
            self.requests.append(request)
            for rule in self._rules:
                if rule.times != 0 and re.search(rule.pattern, request.path):
                    special = rule.act(request)
                    if special is not None:
                        rule.times = rule.times and rule.times - 1
                        return special
        return self._stored(request)

    def _put_manifest(self, repository: str, name: str, image: Image | Index) -> None:
        kind = TYPES[image.flavour]["index" if isinstance(image, Index) else "manifest"]
        content = b"".join(image.manifest.chunks())
        self.put(f"/v2/{repository}/manifests/{name}", content, kind)

    def _stored(self, request: Request) -> Answer:
        path = request.path.partition("?")[0]
        if path not in self._contents:
            body = b'{"errors": [{"code": "NAME_UNKNOWN", "message": "no such thing"}]}'
            return Answer(404, body)
        content, kind = self._contents[path]
        headers = {"Content-Type": kind} if kind else {}
        part = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        if part is None:
            return Answer(200, content, headers)
        start = int(part[1])
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return Answer(206, content[start:], headers)


@contextlib.contextmanager
def registry_double(tls: ssl.SSLContext | None = None) -> Iterator[RegistryDouble]:
    """Run a double."""
    double = RegistryDouble(tls)
    try:
        yield double
    finally:
        double.close()


def _handler(double: RegistryDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", "0")))
            answer = double.answer(Request(self.command, self.path, headers, body))
            # A client that leaves is one of the things that happen here.
            with contextlib.suppress(ConnectionError):
                self._send(answer)

        do_GET = do_HEAD = do_POST = do_CONNECT = _do  # noqa: N815

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            end = len(answer.body) if answer.cut_after is None else answer.cut_after
            if answer.hold_after is not None:
                self.wfile.write(answer.body[: answer.hold_after])
                self.wfile.flush()
                answer.held.set()
                answer.release.wait(60)
                self.wfile.write(answer.body[answer.hold_after : end])
            else:
                self.wfile.write(answer.body[:end])
            if answer.cut_after is not None:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
