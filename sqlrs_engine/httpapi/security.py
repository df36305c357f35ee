"""The bearer token, asked for by every operation that the document does not open."""

from typing import Any

from connexion.middleware.abstract import RoutedAPI, RoutedMiddleware
from connexion.operations import AbstractOperation

from sqlrs_engine.auth import Bearer
from sqlrs_engine.errors import Unauthorized

from .responses import ASGIApp, Receive, Scope, Send


def authorization(scope: Scope) -> bytes | None:
    """Return the first ``Authorization`` header of a request."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            found: bytes = value
            return found
    return None


class SecurityOperation:
    """Lets requests of one operation pass that carry the token."""

    def __init__(self, next_app: ASGIApp, bearer: Bearer) -> None:
        self._next_app = next_app
        self._bearer = bearer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on. Raises Unauthorized."""
        header = authorization(scope)
        if not self._bearer.accepts(header):
            if header is None:
                raise Unauthorized("a bearer token is required", "read it from engine.json")
            raise Unauthorized("the bearer token is not this engine's", "read engine.json again")
        await self._next_app(scope, receive, send)


class SecurityAPI(RoutedAPI[ASGIApp]):  # type: ignore[misc]
    """The operations of the document, each with its check or without."""

    def __init__(self, *args: Any, bearer: Bearer, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._bearer = bearer
        self.add_paths()

    def make_operation(self, operation: AbstractOperation) -> ASGIApp:
        """Return the check of an operation."""
        next_app: ASGIApp = self.next_app
        return SecurityOperation(next_app, self._bearer) if operation.security else next_app


class SecurityMiddleware(RoutedMiddleware[SecurityAPI]):  # type: ignore[misc]
    """Checks the token of a routed request."""

    api_cls = SecurityAPI
