"""Sockets that keep the ports of instances from other programs while no server has them.

A placeholder is bound to a port and does not listen. On Linux a socket may be bound beside
others if all of them allow it (SO_REUSEADDR) and none listens, and may begin to listen if
all allow it, socket(7). PostgreSQL allows it. So a placeholder gives its consent while its
server starts, and withdraws it then: the server goes on listening, and when it ends nobody
else can have the port. Clients that connect meanwhile are refused.
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


class Placeholders:
    """The placeholders of one engine, by port; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[int, socket.socket] = {}

    def hold(self, port: int) -> bool:
        """Keep a port from others, as far as it can be; False when somebody has it."""
        with self._lock:
            if port in self._held:
                return True
            try:
                self._held[port] = _bound(port)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return False
                _log.warning("port %d is not held: %s", port, error)
            return True

    @contextmanager
    def admitting(self, port: int) -> Iterator[None]:
        """Let a server listen on a port that is held, if it begins to within the block."""
        if not consent_counts():
            self.release(port)
            yield
            return
        self._consent(port, True)
        try:
            yield
        finally:
            self._consent(port, False)

    def release(self, port: int) -> None:
        """Give a port up."""
        with self._lock:
            placeholder = self._held.pop(port, None)
        if placeholder is not None:
            placeholder.close()

    def close(self) -> None:
        """Give all ports up."""
        with self._lock:
            ports = list(self._held)
        for port in ports:
            self.release(port)

    def _consent(self, port: int, given: bool) -> None:
        with self._lock:
            placeholder = self._held.get(port)
            if placeholder is not None:
                _allow(placeholder, given)


@cache
def consent_counts() -> bool:
    """Return whether the system has the rules that the module describes."""
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
    """Return a socket bound to a port, without consent to others. Raises OSError."""
    placeholder = socket.socket()
    try:
        # For the moment: connections that linger in TIME_WAIT do not matter.
        _allow(placeholder, True)
        placeholder.bind((LOOPBACK, port))
        _allow(placeholder, False)
    except BaseException:
        placeholder.close()
        raise
    return placeholder


def _allow(placeholder: socket.socket, given: bool) -> None:
    placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, given)
