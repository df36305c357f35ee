"""Answers as ASGI applications: a whole body, or a stream with an end of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any

import orjson
from starlette.responses import StreamingResponse

from sqlrs_engine import stream

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

JSON = b"application/json"
NDJSON = stream.MEDIA_TYPE.encode()
# Answers hold passwords: nothing on the way keeps them, nothing takes them for a page.
_PRIVATE = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class Reply:
    """A response whose whole body is at hand. ``media_type`` None means no body."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        body: bytes = b"",
        *,
        status: int = 200,
        media_type: bytes | None = JSON,
        headers: Headers = (),
    ) -> None:
        self.status = status
        self.body = body
        self.headers = [*headers, *_PRIVATE]
        if status != 204:
            self.headers.append((b"content-length", b"%d" % len(body)))
        if media_type is not None:
            self.headers.append((b"content-type", media_type))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


class CutShort(Exception):  # noqa: N818 - the stream is at fault, not its source
    """Raised by the source of a stream that must not look complete."""


class StreamReply(StreamingResponse):
    """A chunked response, of NDJSON as a rule, that calls ``on_end`` however it ends.

    A source that raises ``CutShort`` ends it without the last chunk: the client sees that
    the connection broke (RFC 9112, section 8).
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
        """Send it, chunk by chunk, until it ends or the client goes away."""
        try:
            await super().__call__(scope, receive, send)
        except CutShort:
            return
        except BaseExceptionGroup as group:
            if group.split(CutShort)[1] is not None:
                raise
        finally:
            self._end()

    async def _to_the_end(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            yield chunk
        # Before the last chunk: whoever has read the stream may rely on its end.
        self._end()

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._on_end()


Response = Reply | StreamReply


def json_reply(value: Any, *, status: int = 200, headers: Headers = ()) -> Reply:
    """Return ``value`` as compact JSON, ended by a newline."""
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    return Reply(body, status=status, headers=headers)


def created(value: Any, location: str) -> Reply:
    """Return 201 with the new resource and where it is."""
    return json_reply(value, status=201, headers=[(b"location", location.encode())])


def no_content() -> Reply:
    """Return 204, which has neither body nor content type."""
    return Reply(status=204, media_type=None)


def redirect(location: str) -> Reply:
    """Return 307 to a path of this engine: relative, so no Host header gets into it."""
    return Reply(status=307, media_type=None, headers=[(b"location", location.encode())])


def list_reply(values: list[dict[str, Any]], media_type: str) -> Reply:
    """Return a list as JSON array or, when ``media_type`` says so, as NDJSON."""
    if media_type == stream.MEDIA_TYPE:
        return Reply(stream.encode(values), media_type=NDJSON)
    return json_reply(values)


Pages = Callable[[str], Iterator[bytes]]


def pages_reply(pages: Pages, media_type: str) -> Response:
    """Return a list that comes in pages of encoded objects, as JSON array or as NDJSON.

    ``pages`` is called with what is to stand between the objects. A list of one page, as
    most are, is a whole body; a longer one is streamed, so that it takes no more memory.
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
