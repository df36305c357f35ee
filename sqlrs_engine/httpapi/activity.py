"""The activity of the API: open requests, the end of the last one, and the access log.

The engine exits after it has been idle for a configured time, which is measured here.
"""

import logging
import time
from collections.abc import Callable

from connexion.middleware.abstract import ROUTING_CONTEXT
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sqlrs_engine.metrics import Metrics

_LONGEST_PATH = 1000  # characters; requests without a token are logged, too

_log = logging.getLogger("sqlrs_engine.access")


class Activity:
    """Counts requests. The event loop's thread writes, any thread may read."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.open_requests = 0
        self.last_end = monotonic()

    def begin(self) -> float:
        """Count a request that begins; return the time in seconds."""
        self.open_requests += 1
        return self._monotonic()

    def end(self) -> float:
        """Count a request that ends; return the time in seconds."""
        self.open_requests -= 1
        self.last_end = self._monotonic()
        return self.last_end

    def touch(self) -> None:
        """Count now as activity."""
        self.last_end = self._monotonic()

    def idle_seconds(self) -> float:
        """Return for how many seconds no request has been open; 0 while one is."""
        return 0.0 if self.open_requests else self._monotonic() - self.last_end


class ActivityMiddleware:
    """Counts and times each request, and logs it to the logger ``sqlrs_engine.access``.

    The line contains neither the query nor headers, which may contain secrets.
    """

    def __init__(self, app: ASGIApp, activity: Activity, metrics: Metrics) -> None:
        self._app = app
        self._activity = activity
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        status, size = 0, 0

        async def counting_send(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size += len(message.get("body", b""))
            await send(message)

        began = self._activity.begin()
        try:
            await self._app(scope, receive, counting_send)
        except ClientDisconnect:
            _log.debug("the client left before its request was complete")
        finally:
            seconds = self._activity.end() - began
            self._metrics.request_ended(_operation(scope), status, seconds)
            if _log.isEnabledFor(logging.INFO):
                _log.info(
                    "method=%s path=%s status=%s bytes=%d ms=%.1f remote=%s",
                    scope["method"],
                    _path(scope),
                    status or "aborted",
                    size,
                    seconds * 1000,
                    (scope.get("client") or ("-",))[0],
                )


def _operation(scope: Scope) -> str:
    """Return the id of the operation that the request was routed to, or ``none``."""
    routed: dict[str, str | None] = scope.get("extensions", {}).get(ROUTING_CONTEXT, {})
    return routed.get("operation_id") or "none"


def _path(scope: Scope) -> str:
    """Return the path percent-encoded, as it was sent, so that it is one word; cut if too long."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("ascii", "backslashreplace")
    path = raw.partition(b"?")[0]
    cut = "…" if len(path) > _LONGEST_PATH else ""
    return path[:_LONGEST_PATH].decode("ascii", "backslashreplace") + cut
