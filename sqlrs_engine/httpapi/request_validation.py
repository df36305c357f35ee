"""Checks of requests against the document, each operation's built once.

connexion builds its validators anew for every request, which is most of what a request
costs; these are its middleware's operations with that work moved to start-up.
"""

from typing import Any

from connexion.datastructures import MediaTypeDict
from connexion.middleware.request_validation import (
    RequestValidationAPI,
    RequestValidationMiddleware,
    RequestValidationOperation,
)
from connexion.operations import AbstractOperation
from connexion.validators import JSONResponseBodyValidator

from . import negotiation
from .guards import BODY
from .parameters import ParameterReader
from .request import INPUTS, Inputs
from .request_bodies import BodyReader, RawBody, check_coding
from .responses import ASGIApp, Receive, Scope, Send

# NDJSON is left to the tests: connexion would buffer a stream to its end.
RESPONSE_VALIDATORS = {"response": MediaTypeDict({"application/json": JSONResponseBodyValidator})}


class ValidatedOperation(RequestValidationOperation):  # type: ignore[misc]
    """Reads the inputs of one operation and hands them on in the scope."""

    def __init__(self, next_app: ASGIApp, *, operation: AbstractOperation, **options: Any) -> None:
        super().__init__(next_app, operation=operation, **options)
        self._parameters = ParameterReader(operation.parameters, creates=operation.method == "put")
        accepted = operation.request_body.get("content", {}) if operation.request_body else {}
        self._body = (
            BodyReader(operation.body_schema(negotiation.JSON))
            if negotiation.JSON in accepted
            else None
        )
        self._raw = bool(accepted) and self._body is None
        self._produced = _success_types(operation)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its ``Inputs``.

        Raises InvalidArgument, NotFound, NotAcceptable or UnsupportedMediaType.
        """
        inputs = Inputs(
            path=self._parameters.path(scope["path_params"]),
            query=self._parameters.query(scope["query_string"]),
            media_type=negotiation.choose(_accept(scope), self._produced),
        )
        if self._raw:
            check_coding(scope)
            inputs.body = RawBody(scope, receive)
        elif self._body is not None:
            inputs.body = await self._body.read(scope, receive)
        else:
            scope["extensions"][BODY].check()
        scope["extensions"][INPUTS] = inputs
        await self.next_app(scope, receive, send)


class ValidatedAPI(RequestValidationAPI):  # type: ignore[misc]
    """The operations of the document."""

    def make_operation(self, operation: AbstractOperation) -> ValidatedOperation:
        """Return the checks of an operation."""
        return ValidatedOperation(self.next_app, operation=operation)


class ValidationMiddleware(RequestValidationMiddleware):  # type: ignore[misc]
    """Checks a routed request against the document."""

    api_cls = ValidatedAPI


def _success_types(operation: AbstractOperation) -> list[str]:
    """Return the media types of an operation's successes, in the document's order."""
    types: dict[str, None] = {}
    for status, response in operation.responses.items():
        if status.startswith("2"):
            types.update(dict.fromkeys(response.get("content", {})))
    return list(types)


def _accept(scope: Scope) -> bytes | None:
    values = [value for name, value in scope["headers"] if name == b"accept"]
    return b",".join(values) if values else None
