"""Connections to an engine that proves its identity before anything else is sent to it.

A killed engine leaves its ``engine.json`` behind. Without the proof, another user's program that
has since taken its port and pid would receive the token and the scripts.
"""

import hmac
import http.client
import json
import secrets
import socket
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx

from sqlrs_engine import auth
from sqlrs_engine.errors import Unavailable

_SECONDS = 10.0
_MAX_BYTES = 65536


class ProvenTransport(httpx.HTTPTransport):
    """Makes the other side of each new connection prove that it has the token.

    A request raises Unavailable without the proof, and none of it has been sent then.
    """

    def __init__(self, token: str) -> None:
        super().__init__(trust_env=False)
        # httpx has no parameter for the network backend of its pool.
        self._pool.close()
        self._pool = httpcore.ConnectionPool(
            network_backend=_ProvingBackend(token),
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,
        )


class _ProvingBackend(httpcore.SyncBackend):
    def __init__(self, token: str) -> None:
        self._token = token

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect; return the stream once the other side has proved its identity."""
        stream = super().connect_tcp(host, port, timeout, local_address, socket_options)
        try:
            self._prove(stream.get_extra_info("socket"), host, port)
        except BaseException:
            stream.close()
            raise
        return stream

    def _prove(self, sock: socket.socket, host: str, port: int) -> None:
        challenge = secrets.token_hex(32)
        sock.settimeout(_SECONDS)
        asking = http.client.HTTPConnection(host, port)
        asking.sock = sock
        try:
            asking.request("GET", f"/v1/health?challenge={challenge}")
            health = json.loads(asking.getresponse().read(_MAX_BYTES))
        except OSError as error:
            raise Unavailable(
                "the engine does not answer: check it with `sqlrs-engine status`", str(error)
            ) from error
        except (http.client.HTTPException, ValueError) as error:
            raise _not_ours(host, port) from error
        given = health.get("proof") if isinstance(health, dict) else None
        expected = auth.proof(self._token, challenge)
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(), expected.encode()):
            raise _not_ours(host, port)


def _not_ours(host: str, port: int) -> Unavailable:
    return Unavailable(
        "another program answers on the engine's port, so the token was not sent",
        f"{host}:{port} belongs to another program or to an older engine: stop it, and "
        "start the engine again",
    )
