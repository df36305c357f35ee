"""Checks a configuration against the schema and against rules that no schema can express."""

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from sqlrs_engine import durations
from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.json_schemas import explain, match_whole, unknown_fields

from . import paths, reserved, role_names
from .schema import Schema, defaults, leaves

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

Tree = dict[str, Any]

# In each pair, the first value must be less than the second (or at most equal to it).
_BELOW = (("cache.capacity.lowWatermark", "cache.capacity.highWatermark"),)
_NOT_ABOVE = (("instances.ports.first", "instances.ports.last"),)

_DEEPEST = 100  # well within what JSON parsers and serializers support (orjson: 254)


@dataclass(frozen=True, slots=True)
class Fault:
    """A mistake, and the paths (keys from the root) whose removal corrects it."""

    reason: str
    paths: tuple[tuple[str, ...], ...]


class Validation:
    """The checks, and the schema's validator, which is built once."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._defaults = defaults(schema)
        self._ignore_case = [p for p, leaf in leaves(schema) if leaf.get("x-ignore-case")]
        self._validator: Validator | None = None

    def check(self, overrides: Tree) -> None:
        """Raise InvalidArgument if anything is wrong, naming the path and what it allows."""
        fault = self.fault(overrides)
        if fault is not None:
            raise InvalidArgument("invalid config value", fault.reason)

    def fault(self, overrides: Tree) -> Fault | None:
        """Return the first fault in these overrides, None if there is none."""
        path = _not_json(overrides, ())
        if path is not None:
            return Fault(
                "it must be JSON: finite numbers, integers of 64 bits, valid Unicode, "
                f"at most {_DEEPEST} levels",
                (path,),
            )
        folded = fold_case(overrides, self._ignore_case)
        error = next(iter(self._loaded().iter_errors(folded)), None)
        if error is not None:
            return Fault(_explain(error), tuple(_wrong_paths(error)))
        return self._unfitting(merge(self._defaults, overrides))

    def _unfitting(self, effective: Tree) -> Fault | None:
        """Return a fault if values in force contradict one another."""
        for low, high in _BELOW:
            if not _at(effective, low) < _at(effective, high):
                reason = f"{low} must be less than {high} ({_at(effective, high)})"
                return Fault(reason, (_keys(low), _keys(high)))
        for low, high in _NOT_ABOVE:
            if _at(effective, low) > _at(effective, high):
                reason = f"{low} must not be above {high} ({_at(effective, high)})"
                return Fault(reason, (_keys(low), _keys(high)))
        return None

    def _loaded(self) -> "Validator":
        # Imported on first use: an engine without overrides starts without it.
        if self._validator is None:
            self._validator = _validator(self._schema)
        return self._validator


def fold_case(tree: Tree, paths: list[str]) -> Tree:
    """Return the tree with the strings at these paths trimmed and in lower case."""
    for path in paths:
        head, _, rest = path.partition(".")
        child = tree.get(head)
        if rest and isinstance(child, dict):
            tree = tree | {head: fold_case(child, [rest])}
        elif not rest and isinstance(child, str):
            tree = tree | {head: child.strip().lower()}
    return tree


def _validator(schema: Schema) -> "Validator":
    from jsonschema import Draft202012Validator, FormatChecker
    from jsonschema.validators import extend

    formats = FormatChecker(formats=())
    formats.checks("go-duration", raises=ValueError)(_is_duration)
    # To JSON Schema, 1.0 is an integer; the configuration keeps numbers as they were written.
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
    kind = extend(  # type: ignore[no-untyped-call]
        Draft202012Validator,
        {
            "pattern": match_whole,
            "x-reserved-names": _reserved_names,
            "x-role-name": _can_be_created,
        },
        type_checker=types,
    )
    validator: Validator = kind(schema, format_checker=formats)
    return validator


def _reserved_names(
    _: Any, names: list[str], instance: Any, __: Any
) -> "Iterator[ValidationError]":
    from jsonschema import ValidationError

    if not isinstance(instance, dict):
        return
    for name in instance:
        if reserved.folded(name) in names:
            yield ValidationError(
                f"the engine sets {json.dumps(name)} itself: leave it out", path=[name]
            )
    twice = reserved.repeated(instance)
    if twice is not None:
        words = f"{json.dumps(twice)} occurs twice, in different letter case: keep one"
        yield ValidationError(words, path=[twice])


def _can_be_created(_: Any, __: Any, instance: Any, ___: Any) -> "Iterator[ValidationError]":
    from jsonschema import ValidationError

    problem = role_names.problem(instance) if isinstance(instance, str) else None
    if problem is not None:
        yield ValidationError(problem)


def _is_integer(_: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_duration(value: Any) -> bool:
    if not isinstance(value, str):
        return True
    try:
        seconds = durations.parse(value)
    except InvalidArgument:
        return False
    return seconds >= 0


def _not_json(value: Any, path: tuple[str, ...], level: int = 0) -> tuple[str, ...] | None:
    """Return the path of the first value that does not survive a round trip through JSON."""
    if level > _DEEPEST:
        return path
    if isinstance(value, dict):
        for key, item in value.items():
            if not _is_plain(key) or not isinstance(key, str):
                return path or (key,)
            found = _not_json(item, (*path, key), level + 1)
            if found is not None:
                return found
        return None
    if isinstance(value, list):
        # A list element is not a separate path: the whole list is removed.
        broken = any(_not_json(item, path, level + 1) is not None for item in value)
        return path if broken else None
    return None if _is_plain(value) else path


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    return value is None


def _wrong_paths(error: "ValidationError") -> "Iterator[tuple[str, ...]]":
    """Yield the paths whose removal corrects the error."""
    # A list element is not a separate path: the whole list is removed.
    keys = takewhile(lambda key: isinstance(key, str), error.absolute_path)
    place = tuple(str(key) for key in keys)
    if "propertyNames" in error.schema_path:
        yield (*place, str(error.instance))
    elif error.validator == "additionalProperties":
        for name in unknown_fields(error):
            yield (*place, name)
    else:
        yield place


def _explain(error: "ValidationError") -> str:
    """Return one line that names the path at fault and what it allows."""
    place = list(error.absolute_path)
    if error.validator == "x-reserved-names":
        place.pop()  # its message has the name
    path = paths.join(place) or "the configuration"
    if "propertyNames" in error.schema_path:
        names: Any = error.schema
        return f"{path}: {json.dumps(error.instance)} is not {names['description']}"
    if error.validator == "format":
        return f"{path} must be a duration that is not negative, such as 90s, 10m or 24h"
    return explain(error, path)


def merge(defaults: Tree, overrides: Tree) -> Tree:
    """Merge overrides into defaults, object by object; null leaves the default in force."""
    merged = copy.deepcopy(defaults)
    for key, value in overrides.items():
        default = merged.get(key)
        if isinstance(default, dict) and isinstance(value, dict):
            merged[key] = merge(default, value)
        elif value is not None or key not in merged:
            merged[key] = copy.deepcopy(value)
    return merged


def _keys(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def _at(tree: Any, path: str) -> Any:
    for key in path.split("."):
        tree = tree[key]
    return tree
