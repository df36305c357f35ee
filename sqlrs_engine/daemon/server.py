"""The HTTP server around the ASGI app: idle exit, signals, a shutdown within a time limit."""

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any, Protocol

import uvicorn

from sqlrs_engine.host.file_descriptors import descriptor_limit
from sqlrs_engine.httpapi.uvicorn_protocol import MAX_CONNECTIONS, GuardedProtocol

FEWEST_CONNECTIONS = 8

_SETTLED_TICKS = 10

_log = logging.getLogger(__name__)


class Requests(Protocol):
    """The open requests, as far as the server needs them to detect idleness."""

    def touch(self) -> None:
        """Restart the idle time."""

    def idle_seconds(self) -> float:
        """Return the seconds for which no request has been open; 0 while one is."""


class _LimitedProtocol(GuardedProtocol):
    """Accepts at most as many connections as half the process's descriptors allow."""

    max_connections = min(MAX_CONNECTIONS, max(FEWEST_CONNECTIONS, descriptor_limit() // 2))


class Server(uvicorn.Server):
    """A uvicorn server that a signal, ``stop()`` or idleness ends cleanly.

    ``idle_timeout`` is in seconds, 0 or less for never. ``busy`` returns whether work is under way
    that no request waits for. ``on_stop`` runs once, on a thread of the loop's pool, before the
    server waits for open requests, so that it can make them end. ``on_settled`` runs about a second
    after the server can answer. ``grace`` is how many seconds open requests get at the end.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        requests: Requests,
        *,
        idle_timeout: float,
        busy: Callable[[], bool],
        on_stop: Callable[[], None],
        on_settled: Callable[[], None],
        grace: int,
    ) -> None:
        self._requests = requests
        self._idle_timeout = idle_timeout
        self._busy = busy
        self._on_stop = on_stop
        self._on_settled = on_settled
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=_LimitedProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # there is no proxy: its headers are forged
                timeout_graceful_shutdown=grace,
                timeout_keep_alive=75,
            )
        )

    def serve_on(self, listener: socket.socket) -> None:
        """Serve until stopped; return when every request has ended or been cut off."""
        self._requests.touch()
        self.run(sockets=[listener])

    def stop(self) -> None:
        """Ask the server to end; safe from any thread and from signal handlers."""
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop serving; uvicorn calls this ten times per second."""
        if counter == _SETTLED_TICKS:
            self._on_settled()
        if self._idle_timeout > 0 and not self.should_exit:
            if self._busy():
                self._requests.touch()
            elif self._requests.idle_seconds() >= self._idle_timeout:
                _log.info("idle for %.0f s: stopping", self._idle_timeout)
                self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting connections, then let open requests end within the grace period."""
        for server in self.servers:
            server.close()
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._on_stop)
        finally:
            await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Turn SIGTERM, SIGINT and SIGHUP into a clean end.

        Unlike uvicorn's own, this does not raise the signal again afterwards: ending
        on request is a success. The handlers stay, so that a second SIGTERM cannot cut
        the clean-up short; a second Ctrl-C ends the wait for open requests.
        """
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, self._on_signal)
        yield

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.handle_exit(number, None)
