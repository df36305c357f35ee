"""Responses: a whole body, or a stream that reports its end."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from sqlrs_engine import stream

Headers = Iterable[tuple[bytes, bytes]]

JSON = b"application/json"
NDJSON = stream.MEDIA_TYPE.encode()
# Responses contain passwords: no cache may keep them, no browser may guess their type.
_PRIVATE = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class Reply(Response):
    """A response whose whole body is at hand. ``media_type`` None means no body.

    Its headers are bytes from the start: Starlette's constructor, which makes them of a
    mapping of texts, takes 2 % of the time of a small answer.
    """

    def __init__(
        self,
        body: bytes = b"",
        *,
        status: int = 200,
        media_type: bytes | None = JSON,
        headers: Headers = (),
    ) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [*headers, *_PRIVATE]
        if status != 204:
            self.raw_headers.append((b"content-length", b"%d" % len(body)))
        if media_type is not None:
            self.raw_headers.append((b"content-type", media_type))


class CutShort(Exception):  # noqa: N818 - the stream is at fault, not its source
    """Raised by the source of a stream that must not look complete."""


# A client can also leave before it has sent all of a body that it declared.
_ENDS = (CutShort, ClientDisconnect)


class StreamReply(StreamingResponse):
    """A chunked response, by default of NDJSON, that calls ``on_end`` when it ends in any way.

    If the source raises ``CutShort``, the response ends without its last chunk, so that the
    client sees a broken connection (RFC 9112, section 8).
    """

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
        media_type: str = stream.MEDIA_TYPE,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(
            self._to_the_end(chunks), status_code=status, headers=headers, media_type=media_type
        )
        self.raw_headers.extend(_PRIVATE)
        self._on_end = on_end
        self._has_ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the chunks until the source ends or the client disconnects."""
        try:
            await super().__call__(scope, receive, send)
        except _ENDS:
            return
        except BaseExceptionGroup as group:
            if group.split(_ENDS)[1] is not None:
                raise
        finally:
            self._end()

    async def _to_the_end(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            yield chunk
        # Before the last chunk: a client that has read the stream can rely on its end.
        self._end()

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._on_end()


def json_reply(value: Any, *, status: int = 200, headers: Headers = ()) -> Reply:
    """Return ``value`` as compact JSON with a newline at the end."""
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    return Reply(body, status=status, headers=headers)


def created(value: Any, location: str) -> Reply:
    """Return 201 with the new resource and its location."""
    return json_reply(value, status=201, headers=[(b"location", location.encode())])


def no_content() -> Reply:
    """Return 204, which has neither a body nor a content type."""
    return Reply(status=204, media_type=None)


def redirect(location: str) -> Reply:
    """Return 307 to a path of this engine; relative, so that no Host header gets into it."""
    return Reply(status=307, media_type=None, headers=[(b"location", location.encode())])


def list_reply(values: list[dict[str, Any]], media_type: str) -> Reply:
    """Return a list as a JSON array or as NDJSON, depending on ``media_type``."""
    if media_type == stream.MEDIA_TYPE:
        return Reply(stream.encode(values), media_type=NDJSON)
    return json_reply(values)


Pages = Callable[[str], Iterator[bytes]]


def pages_reply(pages: Pages, media_type: str) -> Response:
    """Return a list that consists of pages of encoded objects, as a JSON array or as NDJSON.

    ``pages`` is called with the separator of the objects. A list of one page is sent whole;
    a longer list is streamed, so that it needs no more memory than two pages.
    """
    is_ndjson = media_type == stream.MEDIA_TYPE
    separator = "\n" if is_ndjson else ","
    start, end = (b"", b"\n") if is_ndjson else (b"[", b"]\n")
    found = map(stream.one_line_each, pages(separator)) if is_ndjson else pages(separator)
    first = next(found, None)
    if first is None:
        return Reply(b"" if is_ndjson else b"[]\n", media_type=media_type.encode())
    second = next(found, None)
    if second is None:
        return Reply(start + first + end, media_type=media_type.encode())

    async def chunks() -> AsyncIterator[bytes]:
        yield start + first
        page: bytes | None = second
        while page is not None:
            yield separator.encode() + page
            page = next(found, None)
        yield end

    return StreamReply(chunks(), media_type=media_type)
