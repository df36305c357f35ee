"""The HTTP application: the document, the services and the middleware put together."""

import functools
import os
from collections.abc import Iterable

from sqlrs_engine.auth import Bearer
from sqlrs_engine.metrics import Metrics

from . import spec
from .activity import Activity, ActivityMiddleware
from .errors import Errors
from .guards import BODY_SECONDS, MAX_BODY_BYTES, Guards
from .open_limit import OpenLimit
from .operations import EngineApp
from .request import Context
from .request_validation import RESPONSE_VALIDATORS, ValidationMiddleware
from .resolver import TagResolver
from .responses import Receive, Scope, Send
from .routing import RoutingMiddleware
from .security import SecurityMiddleware
from .services import Services

MAX_STREAMS = 256


class HttpApp:
    """An ASGI application. ``activity`` tells whether it is in use."""

    def __init__(self, app: EngineApp, metrics: Metrics) -> None:
        self.activity = Activity()
        self._http = ActivityMiddleware(app, self.activity, metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)
        else:
            await send({"type": "websocket.close"})


def create_app(
    services: Services,
    *,
    token: str,
    version: str,
    instance_id: str,
    response_validation: bool = False,
    allowed_hosts: Iterable[str] = (),
    max_body: int = MAX_BODY_BYTES,
    body_seconds: float = BODY_SECONDS,
    max_streams: int = MAX_STREAMS,
) -> HttpApp:
    """Return the application of one engine.

    ``allowed_hosts`` are names besides the loopback ones to accept in ``Host``, without
    ports. ``response_validation`` checks every JSON answer against the document and fails
    what does not fit: for tests.

    Raises ValueError when the token is empty.
    """
    document = spec.document()
    middlewares = [
        Errors,
        functools.partial(
            Guards, hosts=tuple(allowed_hosts), max_body=max_body, body_seconds=body_seconds
        ),
        RoutingMiddleware,
        SecurityMiddleware,
        ValidationMiddleware,
    ]
    if response_validation:
        from connexion.middleware.response_validation import ResponseValidationMiddleware

        middlewares.append(ResponseValidationMiddleware)
    app = EngineApp(
        __name__,
        middlewares=middlewares,
        resolver=TagResolver(f"{__package__}.handlers", _operations(document)),
        validate_responses=response_validation,
        validator_map=RESPONSE_VALIDATORS,
    )
    bearer = Bearer(token)
    app.bind(
        spec.TrustedSpecification(document),
        bearer=bearer,
        context=Context(
            services=services,
            version=version,
            instance_id=instance_id,
            pid=os.getpid(),
            prove=bearer.prove,
            streams=OpenLimit(max_streams, "streams"),
        ),
    )
    return HttpApp(app, services.metrics)


def _operations(document: spec.Json) -> dict[str, spec.Json]:
    """Return the document's operations by their ids."""
    return {
        operation["operationId"]: operation
        for item in document["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    }


async def _lifespan(receive: Receive, send: Send) -> None:
    """Answer the server's start and stop; there is nothing to do at either."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
