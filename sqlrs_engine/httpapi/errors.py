"""Error responses: every failure has the same envelope, wherever it was raised."""

import logging
from http import HTTPStatus

from connexion.exceptions import ProblemException
from connexion.lifecycle import ConnexionRequest, ConnexionResponse
from starlette.requests import ClientDisconnect

from sqlrs_engine.errors import (
    DISK_FULL,
    ENGINE_FAILED,
    EngineError,
    MethodNotAllowed,
    PayloadTooLarge,
    RequestTimeout,
    StorageFull,
    Unauthorized,
)
from sqlrs_engine.host.disk_space import is_full
from sqlrs_engine.host.file_descriptors import shortage

from .responses import Headers, Reply, json_reply

_log = logging.getLogger(__name__)


class WrongMethod(MethodNotAllowed):
    """The path has other methods. ``allow`` lists them, as in the ``Allow`` header."""

    def __init__(self, method: str, allow: str) -> None:
        super().__init__(
            "the path does not support this method: use one from the Allow header", method
        )
        self.allow = allow


def error_reply(error: EngineError, headers: Headers = ()) -> Reply:
    """Return ``{code, message, details?}`` with the error's status."""
    headers = list(headers)
    if isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, WrongMethod):
        headers.append((b"allow", error.allow.encode()))
    if isinstance(error, PayloadTooLarge | RequestTimeout):
        # The rest of the body is unread: the connection cannot serve another request.
        headers.append((b"connection", b"close"))
    return json_reply(error.as_dict(), status=error.status, headers=headers)


async def answer(_request: ConnexionRequest, error: Exception) -> ConnexionResponse:
    """Return the response to a failed request. connexion calls this for all exceptions."""
    if isinstance(error, ClientDisconnect):
        raise error  # there is no client to answer
    reply = error_reply(_as_engine_error(error))
    headers = {name.decode(): value.decode() for name, value in reply.raw_headers}
    return ConnexionResponse(status_code=reply.status_code, body=reply.body, headers=headers)


def _as_engine_error(error: Exception) -> EngineError:
    """Return the error itself, or log it and return the error to show instead."""
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
