"""Request bodies: JSON with its media type, bytes and value; or raw, piece by piece."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

import anyio.to_thread
import orjson
from starlette.requests import ClientDisconnect

from sqlrs_engine.errors import EngineError, InvalidArgument, UnsupportedMediaType

from .guards import BODY
from .json_schemas import Schema
from .responses import Receive, Scope

MAX_DEPTH = 64
MAX_VALUES = 1_000_000
_LARGE = 16 * 1024
_PIECE = 1024 * 1024
_QUOTE = ord('"')
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[,\[{]', re.DOTALL)


class BodyReader:
    """Reads and checks the body of one operation."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = Schema(schema)

    async def read(self, scope: Scope, receive: Receive) -> Any:
        """Return the decoded body.

        Raises UnsupportedMediaType when it says that it is anything but JSON in UTF-8,
        InvalidArgument when it is missing, is not JSON or does not fit the schema.
        """
        body = scope["extensions"][BODY]
        body.check()
        if not body.present:
            raise InvalidArgument("a JSON request body is required")
        _check_media_type(_header(scope, b"content-type"))
        check_coding(scope)
        raw = await _collect(receive)
        if len(raw) < _LARGE:
            return self._decode(raw)
        return await anyio.to_thread.run_sync(self._decode, raw)  # not to stop the event loop

    def _decode(self, raw: bytes) -> Any:
        value = parse(raw)
        self._schema.check(value)
        return value


class RawBody:
    """A body of any kind, taken piece by piece; who takes it bounds its size.

    ``declared`` is its size, where the request says it.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        body = scope["extensions"][BODY]
        body.streamed = True
        self.declared: int | None = body.declared
        self._receive = receive
        self._over = not body.present

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
        """Read what is left of it, for so long: a client may listen only when it is done."""
        with contextlib.suppress(TimeoutError, EngineError):
            async with asyncio.timeout(seconds):
                async for _ in self.pieces():
                    pass


def parse(raw: bytes) -> Any:
    """Return the value of a JSON document.

    Raises InvalidArgument when it is not one, holds a NUL character (which no path,
    argument or SQL text can), nests deeper than ``MAX_DEPTH`` or has more than
    ``MAX_VALUES``, of which each takes much more memory than text of its size.
    """
    if not raw:
        raise InvalidArgument("a JSON request body is required")
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


def check_coding(scope: Scope) -> None:
    """Raise UnsupportedMediaType when a body says that it is compressed."""
    coding = _header(scope, b"content-encoding").strip()
    if coding.lower() not in (b"", b"identity"):
        raise UnsupportedMediaType(
            "the request body must not be compressed: send it without Content-Encoding",
            f"Content-Encoding: {coding.decode('latin-1')}",
        )


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
    """Return the whole body; the guards bound its size and its time."""
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)
