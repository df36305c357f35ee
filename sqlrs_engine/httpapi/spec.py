"""The OpenAPI document, and its specification as connexion takes it."""

from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from connexion.spec import OpenAPISpecification

Json = dict[str, Any]

FILE_NAME = "sqlrs-engine.yaml"

# libyaml where PyYAML was built with it: ten times as fast, and in the start-up path.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Descriptive keywords, which do not restrict anything.
_ANNOTATIONS = frozenset({"description", "title", "example", "examples", "deprecated"})


class DocumentError(Exception):
    """The document contains something that the engine does not implement: a programming error."""


def document() -> Json:
    """Return the document: the packaged copy or, in a checkout, its source."""
    packaged = resources.files(__package__).joinpath(FILE_NAME)
    if packaged.is_file():
        text = packaged.read_text(encoding="utf-8")
    else:
        checkout = Path(__file__).parents[2] / "openapi" / FILE_NAME
        text = checkout.read_text(encoding="utf-8")
    loaded: Json = yaml.load(text, _Loader)  # noqa: S506 (a safe loader)
    return loaded


def refuse_unknown(where: str, node: Json, known: frozenset[str]) -> None:
    """Raise DocumentError if an object of the document has a keyword without an effect.

    ``known`` are the keywords that the engine implements. Descriptive keywords and extensions
    (``x-…``) are always allowed.
    """
    for keyword in node.keys() - known - _ANNOTATIONS:
        if not keyword.startswith("x-"):
            raise DocumentError(f"{where}: the engine does not implement {keyword!r}")


class TrustedSpecification(OpenAPISpecification):  # type: ignore[misc]
    """The specification of a valid document. The tests validate it; at start this takes 70 ms."""

    @classmethod
    def _validate_spec(cls, spec: Json) -> None:
        """Accept the document as it is."""
