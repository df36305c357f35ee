"""Streams that wait for what happens in threads: job events and the output of runs.

A thread that has something calls back; the event loop then fetches it. Nothing polls,
and nothing is kept per stream but a position.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable

from .. import stream
from .replies import CutShort, StreamReply
from .request import Request
from .services import EventLog, Run, Runs

_RANGE = re.compile(r"\s*events\s*=\s*([0-9]{1,12})\s*-\s*")


class Bell:
    """Rung from any thread, heard by one coroutine of the event loop it was made in."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._rung = False

    def ring(self, *_: object) -> None:
        """Wake the listener, now or when it next listens; after the loop's end, nobody."""
        # Waking the loop costs a system call, and some ring for each of 100,000 lines.
        if not self._rung and not self._loop.is_closed():
            self._rung = True
            self._loop.call_soon_threadsafe(self._event.set)

    async def listen(self) -> None:
        """Wait for a ring since the last time."""
        await self._event.wait()
        self._event.clear()
        self._rung = False  # before the listener looks: what comes later rings anew


async def event_stream(request: Request, job_id: str) -> StreamReply:
    """Return a job's events, from the one that ``Range: events=N-`` names.

    Raises Unavailable when too many streams are open.
    """
    events = request.services.prepare.events
    start = range_start(request.header(b"range"))
    status, headers = 200, dict[str, str]()
    if start is not None:
        known = await request.call(request.services.store.jobs.event_count, job_id)
        status = 206
        headers["content-range"] = f"events {start}-{max(start, known - 1)}/*"
    if request.scope["method"] == "HEAD":
        return StreamReply(_nothing(), status=status, headers=headers)
    slots = request.context.streams
    slots.take()
    return StreamReply(
        _job_lines(request, events, job_id, start or 0),
        status=status,
        headers=headers,
        on_end=slots.give_back,
    )


def range_start(header: str | None) -> int | None:
    """Return N of ``events=N-``, None for any other header: those are ignored (RFC 9110)."""
    match = _RANGE.fullmatch(header or "")
    return int(match[1]) if match else None


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""  # makes it a generator


async def _job_lines(
    request: Request, events: EventLog, job_id: str, position: int
) -> AsyncIterator[bytes]:
    bell = Bell()
    unsubscribe = events.subscribe(job_id, bell.ring)
    try:
        while True:
            # Asked first: whatever was appended before the end is in the lines.
            finished = events.finished(job_id)
            lines = await request.call(events.lines, job_id, position)
            if lines:
                position += len(lines)
                yield stream.join(lines)
            elif finished:
                return
            elif events.broken_off(job_id):
                raise CutShort
            else:
                await bell.listen()
    finally:
        unsubscribe()


async def run_stream(request: Request, runs: Runs) -> StreamReply:
    """Start a run and return its output; it is cancelled when the client leaves.

    Raises Unavailable when too many streams are open, and what ``Runs.open`` raises.
    """
    slots = request.context.streams
    slots.take()
    try:
        run = await request.call(runs.open, request.body)
    except BaseException:
        slots.give_back()
        raise
    return StreamReply(_run_lines(request, run), on_end=_ending(run, slots.give_back))


async def _run_lines(request: Request, run: Run) -> AsyncIterator[bytes]:
    bell = Bell()
    run.start(bell.ring)
    while not run.finished:
        events = run.take()
        if events:
            yield stream.encode(events)
        else:
            await bell.listen()


def _ending(run: Run, give_back: Callable[[], None]) -> Callable[[], None]:
    def end() -> None:
        give_back()
        if not run.finished:
            # Cancelling waits for processes to end, which the event loop must not.
            asyncio.get_running_loop().run_in_executor(None, run.cancel)

    return end
