"""Requests are checked against the document and read into the arguments of a handler.

connexion's own validation builds its validators for every request. Here they are built once,
at start (CONTRIBUTING.md, "What connexion does here").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from connexion.operations import AbstractOperation
from starlette.types import Scope

from sqlrs_engine.errors import NotAcceptable
from sqlrs_engine.stream import MEDIA_TYPE as NDJSON

from .guards import BODY
from .parameters import ParameterReader
from .request_bodies import JSON, BodyReader, body_reader

REQUEST = "request"
"""The name of the argument that receives the ``Request``."""


@dataclass(frozen=True, slots=True)
class Request:
    """The properties of a request besides the parameters of the document.

    ``media_type`` is the media type of the response. ``method`` is ``HEAD`` if only the headers
    of a ``GET`` are wanted.
    """

    method: str
    media_type: str


class RequestReader:
    """Reads the arguments of one operation's handler."""

    def __init__(self, operation: AbstractOperation, *, wants_request: bool) -> None:
        """Raise DocumentError if the operation's definition is not implemented."""
        self._parameters = ParameterReader(operation.parameters, creates=operation.method == "put")
        self.body: BodyReader | None = body_reader(operation.request_body)
        self._produced = _success_types(operation)
        self._wants_request = wants_request

    @property
    def required(self) -> set[str]:
        """The names of the arguments that every request has."""
        return self._parameters.required | ({"body"} if self.body else set())

    @property
    def optional(self) -> set[str]:
        """The names of the arguments that a request may have."""
        return self._parameters.optional

    def read(self, scope: Scope) -> dict[str, Any]:
        """Return all arguments except the body, which ``body`` reads.

        Raises InvalidArgument, NotFound, NotAcceptable, PayloadTooLarge.
        """
        arguments = self._parameters.read(scope)
        media_type = choose(_accept(scope), self._produced)
        if self.body is None:
            scope["extensions"][BODY].check()
        if self._wants_request:
            arguments[REQUEST] = Request(scope["method"], media_type)
        return arguments


def choose(accept: bytes | None, produced: Sequence[str]) -> str:
    """Return the media type to answer with: one of ``produced``, the first by default.

    NDJSON is chosen whenever ``Accept`` names it; wildcards mean the default. So does JSON,
    the media type of every operation's errors: generated clients ask for that alone.

    Raises NotAcceptable when the header admits none.
    """
    if accept is None or not produced:
        return produced[0] if produced else JSON
    admitted = _admitted(accept)
    if NDJSON in admitted and NDJSON in produced:
        return NDJSON
    for media_type in produced:
        if not admitted.isdisjoint((media_type, "application/*", "*/*")):
            return media_type
    if JSON in admitted:
        return produced[0]
    raise NotAcceptable("no acceptable media type", f"accept one of {', '.join(produced)}")


def _admitted(accept: bytes) -> set[str]:
    """Return the media ranges of a header whose weight is not zero; all when it is empty."""
    admitted = set()
    for item in accept.decode("latin-1").lower().split(","):
        media_range, *parameters = (part.strip() for part in item.split(";"))
        weights = [p[2:] for p in parameters if p.startswith("q=")]
        if media_range and not (weights and not weights[0].strip("0.")):
            admitted.add(media_range)
    return admitted if accept.strip() else {"*/*"}


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
