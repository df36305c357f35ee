"""The HTTP application: the document, the services and the middleware put together."""

import contextlib
import functools
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

from connexion import ConnexionMiddleware
from connexion.datastructures import MediaTypeDict
from connexion.exceptions import ProblemException
from connexion.middleware.exceptions import ExceptionMiddleware
from connexion.middleware.lifespan import LifespanMiddleware
from connexion.middleware.security import SecurityMiddleware
from connexion.validators import JSONResponseBodyValidator
from starlette.types import ASGIApp, Receive, Scope, Send

from sqlrs_engine.auth import Bearer
from sqlrs_engine.metrics import Metrics

from . import errors, security, spec
from .activity import Activity, ActivityMiddleware
from .connexion_app import Operations, TagResolver, bind
from .guards import BODY_SECONDS, MAX_BODY_BYTES, Guards
from .routing import RoutingMiddleware
from .services import MAX_STREAMS, Identity, OpenLimit, Services

# Only JSON: of NDJSON, connexion would buffer a whole stream. The tests check it themselves.
_RESPONSE_VALIDATORS = MediaTypeDict({"application/json": JSONResponseBodyValidator})


class HttpApp:
    """The ASGI application of one engine. ``activity`` shows whether it is in use."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.activity = Activity()
        self._app = app
        self._http = ActivityMiddleware(app, self.activity, metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
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
    document: spec.Json | None = None,
    handlers: str = f"{__package__}.handlers",
) -> HttpApp:
    """Return the application of one engine.

    ``allowed_hosts`` are host names to accept besides the loopback names, without ports.
    ``response_validation`` is for tests: it checks every JSON response against the document.
    ``document`` defaults to the engine's own; ``handlers`` is the package of its handlers.

    Raises ValueError if the token is empty, and DocumentError if the document contains
    something that is not implemented or a handler does not fit its operation.
    """
    document = spec.document() if document is None else document
    security.check_schemes(document)
    bearer = Bearer(token)
    services = replace(
        services,
        identity=Identity(version=version, instance_id=instance_id, prove=bearer.prove),
        streams=OpenLimit(max_streams),
    )
    guards = functools.partial(
        Guards, hosts=tuple(allowed_hosts), max_body=max_body, body_seconds=body_seconds
    )
    middlewares: list[Any] = [
        LifespanMiddleware,
        ExceptionMiddleware,
        guards,
        RoutingMiddleware,
        SecurityMiddleware,
    ]
    if response_validation:
        from connexion.middleware.response_validation import ResponseValidationMiddleware

        middlewares.append(ResponseValidationMiddleware)
    app = ConnexionMiddleware(
        Operations(),
        import_name=__name__,
        lifespan=_lifespan,
        middlewares=middlewares,
        auth_all_paths=True,  # a request with a wrong method has to show the token, too
        resolver=TagResolver(handlers, document),
        security_map=security.security_map(bearer),
        validate_responses=response_validation,
        validator_map={"response": _RESPONSE_VALIDATORS},
    )
    for kind in (Exception, ProblemException):
        app.add_error_handler(kind, errors.answer)
    bind(app, document, services)
    return HttpApp(app, services.metrics)


@contextlib.asynccontextmanager
async def _lifespan(_app: ConnexionMiddleware) -> AsyncIterator[None]:
    """Start and stop with the server. Neither requires any work."""
    yield
