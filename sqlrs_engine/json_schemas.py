"""JSON schema failures, each explained in one helpful line.

jsonschema is imported on first use: some engines have nothing to check at start.
"""

import functools
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema import ValidationError

_TYPES = {
    "object": "an object",
    "array": "a list",
    "string": "a string",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "null": "null",
}
_SHOWN = 80


def match_whole(
    _validator: Any, pattern: str, instance: Any, _schema: Any
) -> "Iterator[ValidationError]":
    """Check the keyword ``pattern`` to the very end of a text, for ``jsonschema``'s ``extend``.

    JSON Schema's ``$`` is the end; Python's would let a final newline pass.
    """
    from jsonschema import ValidationError

    if isinstance(instance, str) and whole(pattern).search(instance) is None:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


@functools.lru_cache
def whole(pattern: str) -> re.Pattern[str]:
    """Return a schema's pattern, compiled so that a final ``$`` is the very end of a text."""
    return re.compile(re.sub(r"\$$", r"\\Z", pattern))


def explain(error: "ValidationError", subject: str) -> str:
    """Return what is wrong with a subject, such as ``'ttl'`` or ``log.level``, in one line."""
    reason = _REASONS.get(str(error.validator))
    if reason is None:
        return f"{subject}: {shortened(' '.join(error.message.split()))}"
    return f"{subject} {reason(error)}"


def unknown_fields(error: "ValidationError") -> list[str]:
    """Return the fields of an object that its schema (``additionalProperties``) does not have."""
    schema: Any = error.schema
    instance: Any = error.instance
    known = schema.get("properties", {})
    return [str(name) for name in instance if name not in known]


def _missing(error: "ValidationError") -> str:
    required: Any = error.validator_value
    instance: Any = error.instance
    return f"lacks '{next(name for name in required if name not in instance)}'"


def _unknown(error: "ValidationError") -> str:
    schema: Any = error.schema
    reason = f"has an unknown field '{shortened(min(unknown_fields(error)))}'"
    known = ", ".join(schema.get("properties", {}))
    return f"{reason}; known fields: {known}" if known else reason


def _types(error: "ValidationError") -> str:
    allowed: Any = error.validator_value
    kinds = [allowed] if isinstance(allowed, str) else allowed
    return "must be " + " or ".join(_TYPES[kind] for kind in kinds)


def _choices(error: "ValidationError") -> str:
    allowed: Any = error.validator_value
    return "must be one of " + ", ".join(str(choice or "null") for choice in allowed)


_REASONS: dict[str, Callable[["ValidationError"], str]] = {
    "required": _missing,
    "additionalProperties": _unknown,
    "type": _types,
    "enum": _choices,
    "pattern": lambda e: f"must match {e.validator_value}",
    "minLength": lambda _: "must not be empty",
    "minProperties": lambda _: "must not be empty",
    "minItems": lambda _: "must not be empty",
    "maxLength": lambda e: f"is longer than {e.validator_value} characters",
    "uniqueItems": lambda _: "must not have an item twice",
    "maxItems": lambda e: f"has more than {e.validator_value} items",
    "minimum": lambda e: f"must be at least {e.validator_value}",
    "maximum": lambda e: f"must be at most {e.validator_value}",
    "exclusiveMinimum": lambda e: f"must be greater than {e.validator_value}",
}


def shortened(text: str) -> str:
    """Return a text, cut where it is too long for a line."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
