"""Routes: the path and method of a request to the operation of the document."""

from typing import Any
from urllib.parse import unquote

from connexion.http_facts import METHODS
from connexion.middleware.abstract import ROUTING_CONTEXT, SpecMiddleware
from connexion.spec import Specification
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sqlrs_engine.errors import NotFound

from .errors import WrongMethod
from .spec import DocumentError

REFUSAL = "sqlrs_refusal"

_OF_A_SERVICE = ("/v1/users", "/v1/organizations")


class Route:
    """A path of the document, with the operation id of each of its methods."""

    def __init__(self, path: str) -> None:
        self.names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        self.operations: dict[str, str] = {}
        self.is_open = True

    def add(self, method: str, operation_id: str, *, is_open: bool) -> None:
        """Add an operation; GET answers HEAD as well."""
        self.operations[method] = operation_id
        if method == "GET":
            self.operations["HEAD"] = operation_id
        self.is_open = self.is_open and is_open

    @property
    def allow(self) -> str:
        """The value of an ``Allow`` header."""
        return ", ".join(sorted(self.operations))


class _Node:
    """A node of the tree of path segments; literals take precedence over parameters."""

    __slots__ = ("literals", "parameter", "route")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.route: Route | None = None

    def descend(self, part: str) -> "_Node":
        if part.startswith("{"):
            self.parameter = self.parameter or _Node()
            return self.parameter
        return self.literals.setdefault(part, _Node())


class Router:
    """The tree of all paths."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, path: str) -> Route:
        """Return the route of a path such as ``/v1/names/{name}``; create it if necessary."""
        node = self._root
        for part in path.split("/")[1:]:
            node = node.descend(part)
        node.route = node.route or Route(path)
        return node.route

    def find(self, raw_path: str) -> tuple[Route, dict[str, str]] | None:
        """Return the route of a percent-encoded path and the values of its parameters.

        Segments are decoded after the path is split, so that ``%2F`` stays within its
        segment. Return None if there is no such path; no segment may be empty.
        """
        node = self._root
        values: list[str] = []
        for part in raw_path.split("/")[1:]:
            child = node.literals.get(part)
            if child is None:
                child = node.parameter
                if child is None or not part:
                    return None
                values.append(unquote(part) if "%" in part else part)
            node = child
        if node.route is None:
            return None
        return node.route, dict(zip(node.route.names, values, strict=True))


class RoutingMiddleware(SpecMiddleware):  # type: ignore[misc]
    """Finds the operation; answers 404 and 405, the latter with every method in ``Allow``.

    Starlette's router, connexion's own, decodes ``%2F`` before it looks for slashes,
    redirects paths with a slash at the end, and knows one method per route.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._router = Router()

    def add_api(self, specification: Specification, **_options: Any) -> None:
        """Add all paths of a document. Raises DocumentError unless it is served at the root."""
        if specification.base_path:
            raise DocumentError("servers: the engine serves its paths at the root")
        for path, item in specification["paths"].items():
            route = self._router.add(path)
            for method in METHODS & item.keys():
                operation = item[method]
                is_open = operation.get("security") == []
                route.add(method.upper(), operation["operationId"], is_open=is_open)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route a request. Raises NotFound, and WrongMethod on a path that needs no token."""
        raw: bytes | None = scope.get("raw_path")
        found = self._router.find(raw.partition(b"?")[0].decode() if raw else scope["path"])
        if found is None:
            raise _no_path(scope["path"])
        route, scope["path_params"] = found
        method = scope["method"]
        operation_id = route.operations.get(method)
        if operation_id is None:
            wrong = WrongMethod(method, route.allow)
            if route.is_open:
                raise wrong
            # Without an operation, the request still has to show the token.
            scope["extensions"][REFUSAL] = wrong
        scope["extensions"][ROUTING_CONTEXT] = {
            "api_base_path": "",
            "operation_id": operation_id,
        }
        await self._app(scope, receive, _without_body(send) if method == "HEAD" else send)


async def refuse(scope: Scope, _receive: Receive, _send: Send) -> None:
    """End the chain for a request that has no operation. Raises WrongMethod."""
    raise scope["extensions"][REFUSAL]


def _no_path(path: str) -> NotFound:
    """Return the error for an unknown path, some of which exist only on a shared service."""
    if path.startswith(_OF_A_SERVICE):
        return NotFound(
            "a local engine has no users or organizations",
            "it serves one user, whose token is in engine.json",
        )
    return NotFound("unknown path", "the OpenAPI document lists all paths")


def _without_body(send: Send) -> Send:
    """Wrap ``send`` for HEAD: send the headers of GET without the body."""

    async def headers_only(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return headers_only
