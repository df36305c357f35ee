"""From an operation of the document to its handler: ``<tag>.<snake_case(operationId)>``."""

import importlib
import re
from typing import Any

from connexion.exceptions import ResolverError
from connexion.resolver import Resolution, Resolver

_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")


def snake_case(name: str) -> str:
    """Return ``listPrepareJobs`` as ``list_prepare_jobs``."""
    return _CAPITAL.sub(r"_\1", name).lower()


class TagResolver(Resolver):  # type: ignore[misc]
    """Finds ``listNames`` of the tag ``names`` at ``<package>.names.list_names``.

    ``operations`` maps operation ids to their definitions in the document.
    """

    def __init__(self, package: str, operations: dict[str, dict[str, Any]]) -> None:
        super().__init__()
        self._package = package
        self._operations = operations

    def resolve(self, operation: Any) -> Resolution:
        """Return the handler of an operation. Raises ResolverError when there is none."""
        operation_id = operation.operation_id
        tag = self._operations[operation_id]["tags"][0]
        name = snake_case(operation_id)
        try:
            handler = getattr(importlib.import_module(f"{self._package}.{tag}"), name)
        except (ImportError, AttributeError) as error:
            raise ResolverError(f"{operation_id} has no handler {tag}.{name}") from error
        return Resolution(handler, operation_id)
