"""Path, query and header parameters, by their definitions in the document."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Scope

from sqlrs_engine import ids
from sqlrs_engine.errors import InvalidArgument, NotFound
from sqlrs_engine.json_schemas import whole

from .spec import DocumentError, Json, refuse_unknown

# strconv.ParseBool of Go, whose forms clients send.
_FLAGS = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "FALSE", "false", "False"), False
)
_MAX_FIELDS = 50
_PARAMETER = frozenset({"name", "in", "required", "schema"})
_FLAG = frozenset({"type"})
_TEXT = frozenset({"type", "format", "pattern", "minLength", "maxLength"})
_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")

Check = Callable[[str], Any]


def snake_case(name: str) -> str:
    """Return ``list_prepare_jobs`` for ``listPrepareJobs``, ``idempotency_key`` for a header."""
    return _CAPITAL.sub(r"_\1", name).replace("-", "_").lower()


class ParameterReader:
    """Reads the parameters of one operation into arguments, named in snake case.

    A malformed path parameter names something that cannot exist, and is not found, unless the
    request would create it (``creates``).
    """

    def __init__(self, parameters: list[Json], *, creates: bool) -> None:
        """Raise DocumentError if the definition of a parameter is not implemented."""
        checks: dict[str, dict[str, Check]] = {"path": {}, "query": {}, "header": {}}
        self.required: set[str] = set()
        self.optional: set[str] = set()
        for parameter in parameters:
            name, place = parameter["name"], parameter["in"]
            if place not in checks:
                raise DocumentError(f"parameter {name}: the engine reads no {place} parameters")
            checks[place][name] = _check_of(parameter)
            (self.required if parameter.get("required") else self.optional).add(snake_case(name))
        self._path = [(name, snake_case(name), check) for name, check in checks["path"].items()]
        self._query = checks["query"]
        self._required = [name for name in self._query if snake_case(name) in self.required]
        self._headers = [
            (name.lower().encode(), name, check) for name, check in checks["header"].items()
        ]
        if any(snake_case(name) in self.required for name in checks["header"]):
            raise DocumentError("the engine does not implement required headers")
        self._creates = creates

    def read(self, scope: Scope) -> dict[str, Any]:
        """Return the arguments that a request has. Raises InvalidArgument, NotFound."""
        arguments = self._from_path(scope["path_params"])
        raw = scope["query_string"]
        if raw or self._required:
            arguments.update(self._from_query(raw))
        if self._headers:
            arguments.update(self._from_headers(scope["headers"]))
        return arguments

    def _from_path(self, values: dict[str, str]) -> dict[str, Any]:
        """Return the arguments in the path, without spaces around them unless ``creates``."""
        arguments = {}
        for name, argument, check in self._path:
            text = values[name] if self._creates else values[name].strip(" ")
            try:
                arguments[argument] = check(text)
            except InvalidArgument:
                if self._creates:
                    raise
                noun = name.removesuffix("Id")
                raise NotFound.of(noun, text[:100]) from None
        return arguments

    def _from_query(self, raw: bytes) -> dict[str, Any]:
        """Return the arguments in the query that are known and not empty.

        Spaces around a value are ignored, as in the upstream engine. Flags are booleans, id
        prefixes are in lower case.
        """
        values: dict[str, Any] = {}
        for name, text in _fields(raw):
            check = self._query.get(name)
            text = text.strip(" ")
            if check is None or not text:
                continue
            if name in values:
                raise InvalidArgument(f"invalid {name}", "give it once")
            values[name] = check(text)
        for name in self._required:
            if name not in values:
                raise InvalidArgument(f"{name} is required")
        return {snake_case(name): value for name, value in values.items()}

    def _from_headers(self, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
        """Return the arguments in known headers. Of a repeated header, the first counts."""
        arguments = {}
        for wanted, name, check in self._headers:
            value = next((value for key, value in headers if key == wanted), None)
            if value is not None:
                arguments[snake_case(name)] = check(value.decode("latin-1"))
        return arguments


def _fields(raw: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
        )
    except ValueError:
        raise InvalidArgument("invalid query", f"at most {_MAX_FIELDS} fields in UTF-8") from None


def _check_of(parameter: Json) -> Check:
    """Return the function that checks and converts a parameter's text."""
    name = parameter["name"]
    where = f"parameter {name}"
    refuse_unknown(where, parameter, _PARAMETER)
    schema = parameter.get("schema", {})
    kind, text_format = schema.get("type"), schema.get("format")
    if kind == "boolean":
        refuse_unknown(where, schema, _FLAG)
        return _flag(name)
    if kind != "string":
        raise DocumentError(f"{where}: the engine reads texts and flags, not {kind!r}")
    refuse_unknown(where, schema, _TEXT)
    if text_format == "id-prefix":
        return ids.parse_prefix
    if text_format is not None:
        raise DocumentError(f"{where}: the engine does not know the format {text_format!r}")
    return _text(name, schema)


def _flag(name: str) -> Check:
    def check(text: str) -> bool:
        try:
            return _FLAGS[text]
        except KeyError:
            raise InvalidArgument(f"invalid {name}", "write true or false") from None

    return check


def _text(name: str, schema: Json) -> Check:
    pattern = whole(schema.get("pattern", ""))
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", 1_000_000)
    expected = schema.get("description", "").rstrip(".") or f"it must match {schema.get('pattern')}"

    def check(text: str) -> str:
        if len(text) > longest:
            raise InvalidArgument(f"invalid {name}", f"use at most {longest} characters")
        if len(text) < shortest or pattern.search(text) is None:
            raise InvalidArgument(f"invalid {name}", expected)
        return text

    return check
