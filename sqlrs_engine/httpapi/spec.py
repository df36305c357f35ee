"""The OpenAPI document: found, loaded, and what connexion makes of it."""

from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from connexion.spec import OpenAPISpecification

Json = dict[str, Any]

FILE_NAME = "sqlrs-engine.yaml"

# libyaml where PyYAML was built with it: ten times as fast, and in the start-up path.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def document() -> Json:
    """Return the document: the packaged copy, or in a checkout the file it is made from."""
    packaged = resources.files(__package__).joinpath(FILE_NAME)
    if packaged.is_file():
        text = packaged.read_text(encoding="utf-8")
    else:
        checkout = Path(__file__).parents[2] / "openapi" / FILE_NAME
        text = checkout.read_text(encoding="utf-8")
    loaded: Json = yaml.load(text, _Loader)  # noqa: S506 (a safe loader)
    return loaded


class TrustedSpecification(OpenAPISpecification):  # type: ignore[misc]
    """A document that the tests have validated: validating it again costs every start 40 ms."""

    @classmethod
    def _validate_spec(cls, spec: Json) -> None:
        """Take the document as it is."""
