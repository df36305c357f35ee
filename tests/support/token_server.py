"""A token server, as registries of the internet have: bearer tokens for one repository each.

The registry checks the tokens, which ``openssl`` signs, so that both sides are real.
"""

import base64
import contextlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from support.registry import PASSWORD, USER

PUBLIC = "public/"  # repositories that begin so are open to everybody


class TokenServer:
    """Issues tokens to everybody for public repositories, and to ``USER`` for all."""

    def __init__(self, directory: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        self.certificate, self._key = directory / "token.crt", directory / "token.key"
        _openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=tests"),
            *("-days", "30", "-keyout", self._key, "-out", self.certificate),
        )
        self.lifetime = 300
        self.requests: list[tuple[str | None, dict[str, list[str]]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def realm(self) -> str:
        """The address that the registry sends its clients to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/token"

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def token(self, user: str | None, scopes: list[str]) -> str:
        """Return a token for what the user may do of what it asked for."""
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            if user is not None:
                granted = actions.split(",")
            else:
                granted = ["pull"] if name.startswith(PUBLIC) else []
            access.append({"type": kind, "name": name, "actions": granted})
        now = int(time.time())
        certificate = "".join(self.certificate.read_text().splitlines()[1:-1])
        head = {"typ": "JWT", "alg": "RS256", "x5c": [certificate]}
        claims = {
            "iss": "tests",
            "sub": user or "",
            "aud": "tests",
            "exp": now + self.lifetime,
            "nbf": now - 10,
            "iat": now,
            "jti": f"{time.monotonic_ns()}",
            "access": access,
        }
        text = f"{_base64(json.dumps(head).encode())}.{_base64(json.dumps(claims).encode())}"
        return f"{text}.{_base64(_openssl('dgst', '-sha256', '-sign', self._key, text=text))}"


@contextlib.contextmanager
def token_servers(directory: Path) -> Iterator[TokenServer]:
    """Run a token server with a key of its own."""
    server = TokenServer(directory)
    try:
        yield server
    finally:
        server.close()


def _openssl(*arguments: object, text: str = "") -> bytes:
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _handler(server: TokenServer) -> type[BaseHTTPRequestHandler]:
    expected = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            given = self.headers.get("Authorization")
            query = parse_qs(urlsplit(self.path).query)
            server.requests.append((given, query))
            if given not in (None, expected):
                self._answer(401, {"errors": [{"code": "UNAUTHORIZED"}]})
                return
            scopes = [each for value in query.get("scope", []) for each in value.split(" ")]
            token = server.token(USER if given else None, scopes)
            self._answer(200, {"token": token, "expires_in": server.lifetime})

        def _answer(self, status: int, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet: the tests look at ``requests``."""

    return Handler
