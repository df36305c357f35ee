"""Streams that wait for what happens in threads: job events and the output of runs.

A thread that has something calls back; the event loop then fetches it. Nothing polls,
and nothing is kept per stream but a position.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable

from sqlrs_engine import stream
from sqlrs_engine.clock import utc_now

from . import heartbeats
from .heartbeats import Place
from .request import Request
from .responses import CutShort, StreamReply
from .services import EventLog, Run, Runs

_LAST_EVENTS = 2  # the status, and the result or the error
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

    async def listen(self, seconds: float | None = None) -> bool:
        """Wait for a ring since the last time; False when none comes in so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        self._rung = False  # before the listener looks: what comes later rings anew
        return True


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
    request: Request, events: EventLog, job_id: str, start: int
) -> AsyncIterator[bytes]:
    """Yield a job's events after the first ``start`` lines; the last again while it is silent."""
    beats = request.context.heartbeats
    bell = Bell()
    unsubscribe = events.subscribe(job_id, bell.ring)
    try:
        place = await _existing(request, job_id, beats.place(job_id, start))
        beats.passed(job_id, place)
        last: bytes | None = None
        silent = False
        while True:
            batch = await request.call(events.read, job_id, place.events)
            lines, finished = batch.lines, batch.state == "ended"
            if silent and not lines and not finished and last and heartbeats.repeatable(last):
                beats.add(job_id, place, utc_now())
            time = beats.due(job_id, place)
            if time is not None:
                last = last or await _event_before(request, job_id, place)
                if last is None:
                    return  # the job was deleted
                place = beats.passed(job_id, place, beats=1)
                silent = False
                yield stream.join([heartbeats.repeated(last, time)])
            elif lines:
                lines = lines[: beats.until_next(job_id, place, len(lines))]
                last = lines[-1]
                place = beats.passed(job_id, place, events=len(lines))
                yield stream.join(lines)
            elif finished:
                return
            elif batch.state == "suspended":
                raise CutShort
            else:
                silent = not await bell.listen(heartbeats.SECONDS)
                last = last or await _event_before(request, job_id, place)
    finally:
        unsubscribe()


async def _existing(request: Request, job_id: str, place: Place) -> Place:
    """Return the place, or one that there is.

    A number from an earlier life of the engine may count repetitions that are forgotten:
    it stands for the live edge, or for the last events of a job that is over.
    """
    if not place.events or await _event_before(request, job_id, place) is not None:
        return place
    count = await request.call(request.services.store.jobs.event_count, job_id)
    batch = await request.call(request.services.prepare.events.read, job_id, count)
    is_over = batch.state == "ended"
    return Place(max(0, count - _LAST_EVENTS) if is_over else count, place.beats)


async def _event_before(request: Request, job_id: str, place: Place) -> bytes | None:
    if not place.events:
        return None
    batch = await request.call(request.services.prepare.events.read, job_id, place.events - 1)
    return batch.lines[0] if batch.lines else None


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
