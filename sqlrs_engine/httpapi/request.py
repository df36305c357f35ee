"""What a handler gets: the request's checked inputs and the engine it is served by."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import anyio
import anyio.to_thread

from sqlrs_engine.errors import InvalidArgument

from .heartbeats import Heartbeats
from .open_limit import OpenLimit
from .responses import Scope
from .services import Services

INPUTS = "sqlrs_inputs"

_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class Inputs:
    """A request's parameters, media type to answer with, and body, all checked."""

    path: dict[str, str]
    query: dict[str, Any]
    media_type: str
    body: Any = None


@dataclass(frozen=True, kw_only=True)
class Context:
    """What all requests to one engine share.

    ``prove`` answers a challenge to show that the engine has its token. ``threads`` bounds
    how many domain calls run at once, ``streams`` how many streams are open;
    ``heartbeats`` remembers what streams have repeated.
    """

    services: Services
    version: str
    instance_id: str
    pid: int
    prove: Callable[[str], str]
    streams: OpenLimit
    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    threads: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(32))


@dataclass(slots=True)
class Request:
    """One request to one operation."""

    inputs: Inputs
    context: Context
    scope: Scope

    @property
    def services(self) -> Services:
        """The engine's services."""
        return self.context.services

    @property
    def query(self) -> dict[str, Any]:
        """The query parameters that are present."""
        return self.inputs.query

    @property
    def body(self) -> Any:
        """The body: JSON decoded, anything else as a ``RawBody``."""
        return self.inputs.body

    def header(self, name: bytes) -> str | None:
        """Return a header, by its lower-case name."""
        for key, value in self.scope["headers"]:
            if key == name:
                text: str = value.decode("latin-1")
                return text
        return None

    def idempotency_key(self) -> str | None:
        """Return what a client repeats this request with. Raises InvalidArgument."""
        key = self.header(b"idempotency-key")
        if key is not None and _IDEMPOTENCY_KEY.fullmatch(key) is None:
            raise InvalidArgument(
                "invalid Idempotency-Key", "use 1 to 255 visible ASCII characters, without spaces"
            )
        return key

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a domain function, which may take long, in a thread."""
        return await anyio.to_thread.run_sync(
            functools.partial(function, *args, **kwargs), limiter=self.context.threads
        )
