"""One error envelope for every failure, whoever raised it."""

import logging
from http import HTTPStatus

from connexion.exceptions import ProblemException
from starlette.requests import ClientDisconnect

from sqlrs_engine.errors import (
    DISK_FULL,
    ENGINE_FAILED,
    EngineError,
    PayloadTooLarge,
    RequestTimeout,
    StorageFull,
    Unauthorized,
)
from sqlrs_engine.host.disk_space import is_full
from sqlrs_engine.host.file_descriptors import shortage

from .responses import ASGIApp, Headers, Message, Receive, Reply, Scope, Send, json_reply

_log = logging.getLogger(__name__)


def error_reply(error: EngineError, headers: Headers = ()) -> Reply:
    """Return ``{code, message, details?}`` with the error's status."""
    headers = list(headers)
    if isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, PayloadTooLarge | RequestTimeout):
        # The rest of the body is unread: the connection cannot serve another request.
        headers.append((b"connection", b"close"))
    return json_reply(error.as_dict(), status=error.status, headers=headers)


class Errors:
    """ASGI middleware that answers with the envelope of whatever is raised below it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; an exception becomes a reply unless one has begun."""
        started = False

        async def watching_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watching_send)
        except ClientDisconnect:
            _log.debug("the client left before its request was complete")
        except Exception as error:
            if started:
                raise  # too late for an envelope: the server cuts the connection
            await error_reply(_as_engine_error(error))(scope, receive, send)


def _as_engine_error(error: Exception) -> EngineError:
    """Return the error itself, or the internal error that stands for it, logged."""
    lack = shortage(error)
    if lack is not None:
        _log.error("%s: %s", lack, error)
        return lack
    if isinstance(error, EngineError):
        if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("%s: %s", error.code, error)
        return error
    if is_full(error):
        return StorageFull(DISK_FULL, str(error))
    if isinstance(error, ProblemException):
        _log.error("%s: %s", error.title, error.detail)
    else:
        _log.error("unexpected %s", type(error).__name__, exc_info=error)
    return EngineError(ENGINE_FAILED)
