"""Sockets that keep the ports of instances from other programs while no server has them.

A placeholder is bound to a port and does not listen. On Linux, sockets may be bound to the same
port if all of them allow it (SO_REUSEADDR) and none listens, and one may begin to listen if all
allow it: socket(7). PostgreSQL allows it. So a placeholder allows it while its server starts and
no longer: the server keeps listening, and when it ends no other program can bind the port.
Clients that connect in the meantime are refused.
"""

import errno
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

LOOPBACK = "127.0.0.1"

_log = logging.getLogger(__name__)


class PortPlaceholders:
    """The placeholders of one engine, by port; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[int, socket.socket] = {}

    def hold(self, port: int) -> bool:
        """Bind a port; return False when another program has it.

        A port that cannot be bound for another reason is logged and counts as held.
        """
        with self._lock:
            if port in self._held:
                return True
            try:
                self._held[port] = _bound(port)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return False
                _log.warning("cannot hold port %d: %s", port, error)
            return True

    @contextmanager
    def admitting(self, port: int) -> Iterator[None]:
        """Let a server begin to listen on a held port within the block."""
        if not reuse_supported():
            self.release(port)
            yield
            return
        self._allow_server(port, True)
        try:
            yield
        finally:
            self._allow_server(port, False)

    def release(self, port: int) -> None:
        """Release a port."""
        with self._lock:
            placeholder = self._held.pop(port, None)
        if placeholder is not None:
            placeholder.close()

    def close(self) -> None:
        """Release all ports."""
        with self._lock:
            ports = list(self._held)
        for port in ports:
            self.release(port)

    def _allow_server(self, port: int, allowed: bool) -> None:
        with self._lock:
            placeholder = self._held.get(port)
            if placeholder is not None:
                _allow(placeholder, allowed)


@cache
def reuse_supported() -> bool:
    """Return whether the system has the rules of socket(7) that this module relies on."""
    with suppress(OSError), socket.socket() as placeholder:
        _allow(placeholder, True)
        placeholder.bind((LOOPBACK, 0))
        port = placeholder.getsockname()[1]
        with _bound(port) as server:
            _allow(server, True)
            _allow(placeholder, True)
            server.listen()
        _allow(placeholder, False)
        try:
            _bound(port).close()
        except OSError:
            return True
    return False


def _bound(port: int) -> socket.socket:
    """Return a socket bound to a port that allows no other. Raises OSError."""
    placeholder = socket.socket()
    try:
        # Only while it binds, so that connections in TIME_WAIT do not prevent it.
        _allow(placeholder, True)
        placeholder.bind((LOOPBACK, port))
        _allow(placeholder, False)
    except BaseException:
        placeholder.close()
        raise
    return placeholder


def _allow(placeholder: socket.socket, allowed: bool) -> None:
    placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, allowed)
