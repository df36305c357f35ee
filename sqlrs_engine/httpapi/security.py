"""The bearer token, which connexion's security middleware checks as the document declares."""

import functools
from collections.abc import Callable
from typing import Any

from connexion.lifecycle import ConnexionRequest
from connexion.security import AbstractSecurityHandler

from sqlrs_engine.auth import Bearer
from sqlrs_engine.errors import Unauthorized

from .spec import DocumentError, Json

_SCHEME = {"type": "http", "scheme": "bearer"}


class BearerHandler(AbstractSecurityHandler):  # type: ignore[misc]
    """Checks the token of one engine.

    connexion's own handler calls a global function, which the document or an environment
    variable names. Such a function cannot know which of two engines in a process is meant.
    """

    def __init__(self, bearer: Bearer) -> None:
        self._bearer = bearer

    def get_fn(
        self, security_scheme: Json, required_scopes: list[str]
    ) -> Callable[[ConnexionRequest], Json]:
        """Return the check of a request."""
        return self._check

    def _check(self, request: ConnexionRequest) -> Json:
        """Return nothing about the client, except that it has the token.

        Raises Unauthorized.
        """
        for name, value in request.scope["headers"]:
            if name == b"authorization":
                if self._bearer.accepts(value):
                    return {}
                raise Unauthorized(
                    "the bearer token is not this engine's", "read engine.json again"
                )
        raise Unauthorized("a bearer token is required", "read it from engine.json")


def security_map(bearer: Bearer) -> dict[str, Any]:
    """Return the handlers of the security schemes, as connexion takes them."""
    return {_SCHEME["scheme"]: functools.partial(BearerHandler, bearer)}


def check_schemes(document: Json) -> None:
    """Raise DocumentError if the document has a security scheme that is not implemented."""
    for name, scheme in document["components"]["securitySchemes"].items():
        if {keyword: scheme.get(keyword) for keyword in _SCHEME} != _SCHEME:
            raise DocumentError(
                f"security scheme {name}: the engine implements only HTTP bearer tokens"
            )
