"""JSON schema checks, built once, whose failures read as one helpful line."""

import re
from collections.abc import Iterator
from typing import Any

from connexion.json_schema import Draft4RequestValidator
from jsonschema import ValidationError
from jsonschema.validators import extend

from sqlrs_engine.errors import InvalidArgument

_TYPES = {
    "object": "an object",
    "array": "a list",
    "string": "a string",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
}
_SHOWN = 80


def _whole_pattern(
    _validator: Any, pattern: str, instance: Any, _schema: Any
) -> Iterator[ValidationError]:
    """Match to the very end: Python's ``$`` would let a final newline pass."""
    if isinstance(instance, str):
        match = re.search(pattern, instance)
        if match is None or (pattern.endswith("$") and match.end() != len(instance)):
            yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator: Any = extend(Draft4RequestValidator, {"pattern": _whole_pattern})  # type: ignore[no-untyped-call]


class Schema:
    """A schema of the document."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._validator = _Validator(schema)

    def check(self, value: Any) -> None:
        """Raise InvalidArgument when ``value`` does not fit, naming the field."""
        # The first failure will do: looking for the most telling one means finding all,
        # and a large body can have millions.
        error = next(self._validator.iter_errors(value), None)
        if error is not None:
            raise InvalidArgument("invalid request body", explain(error))


def explain(error: ValidationError) -> str:
    """Return what is wrong with which field, in one line."""
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
    field = f"'{_short(where.removeprefix('.'))}'" if where else "the body"
    limit: Any = error.validator_value
    instance: Any = error.instance
    schema: Any = error.schema
    match error.validator:
        case "required":
            missing = [name for name in limit if name not in instance]
            return f"{field} lacks '{missing[0]}'"
        case "additionalProperties":
            known = schema.get("properties", {})
            unknown = sorted(str(name) for name in instance.keys() - known.keys())
            return f"{field} has an unknown field '{_short(unknown[0])}'"
        case "type":
            return f"{field} must be {_TYPES.get(limit, limit)}"
        case "enum":
            return f"{field} must be one of {', '.join(map(str, limit))}"
        case "pattern":
            return f"{field} must match {limit}"
        case "minLength" | "minProperties" | "minItems":
            return f"{field} must not be empty"
        case "maxLength":
            return f"{field} is longer than {limit} characters"
        case "maxItems":
            return f"{field} has more than {limit} items"
        case _:
            return f"{field}: {_short(' '.join(error.message.split()))}"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
