"""Path and query parameters, by their definitions in the document."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from sqlrs_engine import ids
from sqlrs_engine.errors import InvalidArgument, NotFound

# strconv.ParseBool of Go, whose forms clients send.
_FLAGS = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "FALSE", "false", "False"), False
)
_MAX_FIELDS = 50

Check = Callable[[str], Any]


class ParameterReader:
    """Reads the parameters of one operation.

    A path parameter that does not have its form names something that cannot exist: not
    found, except where the request would create it (``creates``).
    """

    def __init__(self, parameters: list[dict[str, Any]], *, creates: bool) -> None:
        by_place: dict[str, dict[str, Check]] = {"path": {}, "query": {}, "header": {}}
        for parameter in parameters:
            by_place[parameter["in"]][parameter["name"]] = _check_of(parameter)
        self._path = by_place["path"]
        self._query = by_place["query"]
        self._required = [
            p["name"] for p in parameters if p["in"] == "query" and p.get("required", False)
        ]
        self._creates = creates

    def path(self, values: dict[str, str]) -> dict[str, str]:
        """Return the path's values, without spaces around them where they name what there is.

        Raises NotFound (or InvalidArgument, see above).
        """
        if not self._creates:
            values = {name: text.strip(" ") for name, text in values.items()}
        for name, check in self._path.items():
            try:
                check(values[name])
            except InvalidArgument:
                if self._creates:
                    raise
                noun = name.removesuffix("Id")
                raise NotFound.of(noun, values[name][:100]) from None
        return values

    def query(self, raw: bytes) -> dict[str, Any]:
        """Return the values of the known parameters that are present and not empty.

        Spaces around a value are not part of it, as for the upstream engine. Flags are
        booleans, id prefixes lower-case. Raises InvalidArgument.
        """
        if not raw and not self._required:
            return {}
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
        return values


def _fields(raw: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
        )
    except ValueError:
        raise InvalidArgument("invalid query", f"at most {_MAX_FIELDS} fields in UTF-8") from None


def _check_of(parameter: dict[str, Any]) -> Check:
    """Return the function that checks and converts a parameter's text."""
    name, schema = parameter["name"], parameter["schema"]
    if schema.get("type") == "boolean":
        return _flag(name)
    kind = schema.get("format")
    if kind == "id-prefix":
        return ids.parse_prefix
    if kind == "config-path":
        return str  # the configuration itself says what is wrong with a path
    return _text(name, schema)


def _flag(name: str) -> Check:
    def check(text: str) -> bool:
        try:
            return _FLAGS[text]
        except KeyError:
            raise InvalidArgument(f"invalid {name}", "write true or false") from None

    return check


def _text(name: str, schema: dict[str, Any]) -> Check:
    # \Z: Python's $ would let a final newline pass.
    pattern = re.compile(re.sub(r"\$$", r"\\Z", schema.get("pattern", "")))
    longest = schema.get("maxLength", 1_000_000)

    def check(text: str) -> str:
        if len(text) > longest:
            raise InvalidArgument(f"invalid {name}", f"it is longer than {longest} characters")
        if pattern.search(text) is None:
            raise InvalidArgument(f"invalid {name}", f"it must match {schema['pattern']}")
        return text

    return check
