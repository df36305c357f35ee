"""The operations of the document under connexion, each bound to its handler.

CONTRIBUTING.md ("What connexion does here") lists which parts of connexion are used and which
are replaced, with measurements. ``tests/contract/test_connexion.py`` checks the internals of
connexion that this module uses.
"""

import importlib
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from connexion import ConnexionMiddleware
from connexion.http_facts import METHODS
from connexion.middleware.abstract import RoutedAPI, RoutedMiddleware
from connexion.middleware.main import API
from connexion.operations import AbstractOperation
from connexion.resolver import Resolution, Resolver
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .parameters import snake_case
from .request_validation import REQUEST, RequestReader
from .routing import refuse
from .services import Services
from .spec import DocumentError, Json, TrustedSpecification

Handler = Callable[..., Awaitable[Response]]


class TagResolver(Resolver):  # type: ignore[misc]
    """Finds ``listNames``, of the tag ``names``, at ``<package>.names.list_names``."""

    def __init__(self, package: str, document: Json) -> None:
        super().__init__()
        self._package = package
        self._tags: dict[str, str] = {
            operation["operationId"]: operation["tags"][0]
            for item in document["paths"].values()
            for method, operation in item.items()
            if method in METHODS
        }

    def resolve(self, operation: AbstractOperation) -> Resolution:
        """Return the handler of an operation.

        Raises DocumentError if there is none. connexion would ignore its own ResolverError
        and leave the operation out.
        """
        operation_id = operation.operation_id
        tag, name = self._tags[operation_id], snake_case(operation_id)
        try:
            handler = getattr(importlib.import_module(f"{self._package}.{tag}"), name)
        except (ImportError, AttributeError) as error:
            raise DocumentError(f"{operation_id} has no handler {tag}.{name}") from error
        return Resolution(handler, operation_id)


class BoundOperation:
    """An operation and its handler, which gets parameters and body as named arguments."""

    def __init__(self, operation: AbstractOperation, services: Services) -> None:
        """Raise DocumentError if the handler does not fit its operation."""
        handler: Handler = operation.function
        named = inspect.signature(handler).parameters
        try:
            self._reader = RequestReader(operation, wants_request=REQUEST in named)
            _check_fit(handler, self._reader)
        except DocumentError as error:
            raise DocumentError(f"{operation.operation_id}: {error}") from None
        self._handler = handler
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        arguments = self._reader.read(scope)
        if self._reader.body is not None:
            arguments["body"] = await self._reader.body.read(scope, receive)
        response = await self._handler(self._services, **arguments)
        await response(scope, receive, send)


class BoundAPI(RoutedAPI[BoundOperation]):  # type: ignore[misc]
    """The document's operations."""

    def __init__(self, *args: Any, services: Services, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._services = services
        self.add_paths()

    def make_operation(self, operation: AbstractOperation) -> BoundOperation:
        """Return an operation with its handler."""
        return BoundOperation(operation, self._services)


class Operations(RoutedMiddleware[BoundAPI]):  # type: ignore[misc]
    """The application inside connexion's middleware."""

    api_cls = BoundAPI

    def __init__(self) -> None:
        super().__init__(refuse)


def bind(app: ConnexionMiddleware, document: Json, services: Services) -> None:
    """Bind the document to its handlers now rather than at the first request.

    This is ``app.add_api`` without its validation of the document. Raises DocumentError.
    """
    specification = TrustedSpecification(document)
    options = vars(app.options)
    app.apis.append(API(specification, base_path=None, services=services, **options))
    app.app, app.middleware_stack = app._build_middleware_stack()


def _check_fit(handler: Handler, reader: RequestReader) -> None:
    """Raise DocumentError unless the arguments of a handler match its operation.

    The first argument is ``services``. Then come the parameters and the body, with a default
    if a request may omit them, and ``request`` if the handler wants the ``Request``.
    """
    name = f"{handler.__module__.rpartition('.')[2]}.{handler.__name__}"
    if not inspect.iscoroutinefunction(handler):
        raise DocumentError(f"handler {name} is not asynchronous")
    named = list(inspect.signature(handler).parameters.values())
    if not named or named[0].name != "services":
        raise DocumentError(f"handler {name} does not take the services first")
    taken = {each.name for each in named[1:]} - {REQUEST}
    defaults = {each.name for each in named[1:] if each.default is not each.empty}
    given = reader.required | reader.optional
    for problem, names in (
        ("does not take", given - taken),
        ("takes what the document does not have:", taken - given),
        ("has no default for what a request may omit:", reader.optional - defaults),
        ("has a default for what every request has:", reader.required & defaults),
    ):
        if names:
            raise DocumentError(f"handler {name} {problem} {', '.join(sorted(names))}")
