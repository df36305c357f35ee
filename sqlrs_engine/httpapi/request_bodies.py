"""Request bodies: JSON, checked against its schema, or raw, read piece by piece."""

import asyncio
import contextlib
import math
import re
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any, Protocol

import anyio.to_thread
import orjson
from connexion.json_schema import Draft4RequestValidator
from jsonschema import ValidationError
from jsonschema.validators import extend
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from sqlrs_engine.errors import EngineError, InvalidArgument, UnsupportedMediaType
from sqlrs_engine.json_schemas import explain, match_whole, shortened

from .guards import BODY
from .spec import DocumentError, Json, refuse_unknown

JSON = "application/json"

MAX_DEPTH = 64
MAX_VALUES = 1_000_000
_LARGE = 16 * 1024
_PIECE = 1024 * 1024
_QUOTE = ord('"')
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[,\[{]', re.DOTALL)


_BODY = frozenset({"required", "content"})
# Keywords of JSON Schema's draft 4 as in OpenAPI 3.0. Not ``format``: it would not be checked.
# Handlers apply any ``default``.
_SCHEMA = (
    frozenset({"type", "nullable", "enum", "default", "allOf", "anyOf", "oneOf", "not"})
    | {"properties", "required", "additionalProperties", "minProperties", "maxProperties"}
    | {"items", "minItems", "maxItems", "uniqueItems"}
    | {"minLength", "maxLength", "pattern"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
)
_Validator: Any = extend(Draft4RequestValidator, {"pattern": match_whole})  # type: ignore[no-untyped-call]


class BodyReader(Protocol):
    """Reads the bodies of one operation's requests."""

    async def read(self, scope: Scope, receive: Receive) -> Any:
        """Return a request's body."""


def body_reader(definition: Json) -> BodyReader | None:
    """Return the reader of the bodies that the document defines, or None if there are none.

    Raises DocumentError if the definition is not implemented.
    """
    if not definition:
        return None
    refuse_unknown("request body", definition, _BODY)
    if not definition.get("required"):
        raise DocumentError("request body: the engine does not implement optional bodies")
    ((media_type, content),) = definition["content"].items()
    refuse_unknown(f"request body {media_type}", content, frozenset({"schema"}))
    return JsonReader(content["schema"]) if media_type == JSON else RawReader()


class JsonReader:
    """Reads and checks JSON."""

    def __init__(self, schema: Json) -> None:
        _check_keywords("request body", schema)
        self._validator = _Validator(schema)

    async def read(self, scope: Scope, receive: Receive) -> Any:
        """Return the decoded body.

        Raises UnsupportedMediaType if the request declares anything but JSON in UTF-8, and
        InvalidArgument if the body is missing, is not JSON or does not match the schema.
        """
        body = scope["extensions"][BODY]
        body.check()
        if not body.present:
            raise InvalidArgument("a JSON request body is required: send an object")
        _check_media_type(_header(scope, b"content-type"))
        _check_coding(scope)
        raw = await _collect(receive)
        if len(raw) < _LARGE:
            return self._decode(raw)
        return await anyio.to_thread.run_sync(self._decode, raw)  # not to stop the event loop

    def _decode(self, raw: bytes) -> Any:
        value = parse(raw)
        # The first failure will do: looking for the most telling one means finding all,
        # and a large body can have millions.
        error = next(self._validator.iter_errors(value), None)
        if error is not None:
            raise InvalidArgument("invalid request body", explain(error, _subject(error)))
        return value


class RawReader:
    """Passes on a body of any media type, unread."""

    async def read(self, scope: Scope, receive: Receive) -> "RawBody":
        """Return the body, unread. Raises UnsupportedMediaType when it is compressed."""
        _check_coding(scope)
        return RawBody(scope, receive)


class RawBody:
    """A body of any media type, read piece by piece. Its reader limits the size.

    ``declared`` is the size in bytes, if the request declares it.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._body = body = scope["extensions"][BODY]
        body.streamed = True
        self.declared: int | None = body.declared
        self._receive = receive
        self._over = not body.present

    def wait(self, seconds: float) -> None:
        """Wait this long for each piece, and without end for all of them."""
        self._body.seconds, self._body.all_seconds = seconds, math.inf

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces worth writing.

        Raises RequestTimeout, ClientDisconnect.
        """
        pending: list[bytes] = []
        size = 0
        while not self._over:
            message = await self._receive()
            self._over = not message.get("more_body", False)
            pending.append(message.get("body", b""))
            size += len(pending[-1])
            if size >= _PIECE:
                yield b"".join(pending)
                pending, size = [], 0
        if size:
            yield b"".join(pending)

    async def drain(self, seconds: float) -> None:
        """Read the rest, for at most ``seconds``: some clients read a response only after that."""
        with contextlib.suppress(TimeoutError, EngineError):
            async with asyncio.timeout(seconds):
                async for _ in self.pieces():
                    pass


def parse(raw: bytes) -> Any:
    """Return the value of a JSON document.

    Raises InvalidArgument if it is invalid, contains a NUL character (which no path,
    argument or SQL text can), has more than ``MAX_DEPTH`` levels or more than ``MAX_VALUES``
    values, each of which needs much more memory than its text.
    """
    if not raw:
        raise InvalidArgument("a JSON request body is required: send an object")
    if _has_too_many_values(raw):
        raise InvalidArgument("the request body has too many values", f"send at most {MAX_VALUES}")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument("the request body is not valid JSON", str(error)) from None
    # Most bodies are shallow and plain, which counting tells without a walk.
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH or b"\\u0000" in raw:
        _walk(value)
    return value


def _walk(value: Any) -> None:
    pending = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, str):
            if "\0" in item:
                raise InvalidArgument("the request body contains a NUL character: remove it")
        elif isinstance(item, dict | list):
            if depth > MAX_DEPTH:
                raise InvalidArgument(
                    "the request body is nested too deeply", f"at most {MAX_DEPTH} levels"
                )
            children = [*item, *item.values()] if isinstance(item, dict) else item
            pending.extend((child, depth + 1) for child in children)


def _check_coding(scope: Scope) -> None:
    """Raise UnsupportedMediaType if the request declares a compressed body."""
    coding = _header(scope, b"content-encoding").strip()
    if coding.lower() not in (b"", b"identity"):
        raise UnsupportedMediaType(
            "the request body must not be compressed: send it without Content-Encoding",
            f"Content-Encoding: {coding.decode('latin-1')}",
        )


def _check_keywords(where: str, schema: Json) -> None:
    """Raise DocumentError when a schema has a keyword that would not be checked."""
    refuse_unknown(where, schema, _SCHEMA)
    below = [*schema.get("properties", {}).values()]
    for keyword in ("allOf", "anyOf", "oneOf"):
        below += schema.get(keyword, [])
    for keyword in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(keyword), dict):
            below.append(schema[keyword])
    for child in below:
        _check_keywords(where, child)


def _subject(error: ValidationError) -> str:
    """Return the field that an error is about, in quotes and not too long."""
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
    return f"'{shortened(where.removeprefix('.'))}'" if where else "the body"


def _has_too_many_values(raw: bytes) -> bool:
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") <= MAX_VALUES:
        return False
    # Those in strings do not count. One token after another, not to stop the other threads;
    # to each value belong at most a name, a text and what separates it from the others.
    most = 3 * MAX_VALUES + 1
    are_strings = [
        raw[token.start()] == _QUOTE for token in islice(_TOKENS.finditer(raw), most + 1)
    ]
    return len(are_strings) > most or are_strings.count(False) > MAX_VALUES


def _header(scope: Scope, wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name == wanted), b"")


def _check_media_type(given: bytes) -> None:
    if not given:
        return  # clients of the upstream engine need not say it
    media_type, *parameters = given.decode("latin-1").lower().split(";")
    if media_type.strip() != "application/json":
        raise UnsupportedMediaType(
            "the request body must be JSON", "send it with Content-Type: application/json"
        )
    for parameter in parameters:
        key, _, value = parameter.strip().partition("=")
        if key == "charset" and value.strip('"') not in ("utf-8", "utf8"):
            raise UnsupportedMediaType("the request body must be in UTF-8", value)


async def _collect(receive: Receive) -> bytes:
    """Return the whole body. The guards limit its size and its time."""
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)
