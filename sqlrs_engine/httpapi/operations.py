"""The end of the chain: an operation calls its handler and sends what it returns."""

from collections.abc import Awaitable, Callable
from typing import Any

from connexion.apps.abstract import AbstractApp
from connexion.apps.asynchronous import AsyncApp
from connexion.middleware.abstract import RoutedAPI, RoutedMiddleware
from connexion.middleware.main import API
from connexion.operations import AbstractOperation
from connexion.spec import Specification

from .request import INPUTS, Context, Request
from .responses import Receive, Response, Scope, Send

Handler = Callable[[Request], Awaitable[Response]]


class HandlerOperation:
    """Calls one handler."""

    def __init__(self, handler: Handler, context: Context) -> None:
        self._handler = handler
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        request = Request(scope["extensions"][INPUTS], self._context, scope)
        response = await self._handler(request)
        await response(scope, receive, send)


class HandlerAPI(RoutedAPI[HandlerOperation]):  # type: ignore[misc]
    """The handlers of the document's operations."""

    def __init__(self, *args: Any, context: Context, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._context = context
        self.add_paths()

    def make_operation(self, operation: AbstractOperation) -> HandlerOperation:
        """Return the operation that calls the resolved handler."""
        return HandlerOperation(operation.function, self._context)


class HandlerApp(RoutedMiddleware[HandlerAPI]):  # type: ignore[misc]
    """The application inside connexion's middleware."""

    api_cls = HandlerAPI

    def __init__(self) -> None:
        super().__init__(_unrouted)


class EngineApp(AsyncApp):  # type: ignore[misc]
    """connexion's AsyncApp with this package's handlers and middleware in place of its own."""

    def __init__(self, import_name: str, *, middlewares: list[Any], **options: Any) -> None:
        self._middleware_app = HandlerApp()
        AbstractApp.__init__(self, import_name, middlewares=middlewares, **options)

    def bind(self, specification: Specification, **kwargs: Any) -> None:
        """Bind a loaded document and build everything now, not at the first request.

        ``kwargs`` go to the ``add_api`` of every middleware. Raises ResolverError when an
        operation has no handler.
        """
        main = self.middleware
        main.apis.append(API(specification, base_path=None, **vars(main.options), **kwargs))
        main.app, main.middleware_stack = main._build_middleware_stack()


async def _unrouted(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("the router passed on a request that has no operation")
