"""Streams from other threads: the events of jobs and the output of runs.

A thread that has new lines calls back, and the event loop fetches them. Nothing polls. The only
state of a stream is its position.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable

from sqlrs_engine import stream
from sqlrs_engine.clock import utc_now
from sqlrs_engine.runs import Run
from sqlrs_engine.store.records import Json

from . import heartbeats
from .heartbeats import Place
from .responses import CutShort, StreamReply
from .services import Services

_LAST_EVENTS = 2  # the status, and the result or the error
_RANGE = re.compile(r"\s*events\s*=\s*([0-9]{1,12})\s*-\s*")


class Wakeup:
    """Wakes one coroutine of the event loop that it was created in, from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._woken = False

    def wake(self, *_: object) -> None:
        """Wake the coroutine, now or when it next waits. Do nothing after the loop has ended."""
        # Waking the loop costs a system call, and some threads call this for each of 100,000 lines.
        if not self._woken and not self._loop.is_closed():
            self._woken = True
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for a call of ``wake`` since the last wait; return False on timeout."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        self._woken = False  # before the coroutine looks: what comes later wakes it again
        return True


async def event_stream(
    services: Services, job_id: str, wanted: str | None, *, headers_only: bool
) -> StreamReply:
    """Return a job's events, from the one that a ``Range`` header ``events=N-`` names.

    Raises Unavailable when too many streams are open.
    """
    start = range_start(wanted)
    status, headers = 200, dict[str, str]()
    if start is not None:
        known = await services.call(services.store.jobs.event_count, job_id)
        status = 206
        headers["content-range"] = f"events {start}-{max(start, known - 1)}/*"
    if headers_only:
        return StreamReply(_nothing(), status=status, headers=headers)
    services.streams.take()
    return StreamReply(
        _job_lines(services, job_id, start or 0),
        status=status,
        headers=headers,
        on_end=services.streams.give_back,
    )


def range_start(header: str | None) -> int | None:
    """Return N of ``events=N-``, None for any other header, which is ignored (RFC 9110)."""
    match = _RANGE.fullmatch(header or "")
    return int(match[1]) if match else None


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""  # makes it a generator


async def _job_lines(services: Services, job_id: str, start: int) -> AsyncIterator[bytes]:
    """Yield a job's events after the first ``start`` lines, with heartbeats while it is silent."""
    events, beats = services.prepare.events, services.heartbeats
    wakeup = Wakeup()
    unsubscribe = events.subscribe(job_id, wakeup.wake)
    try:
        place = await _existing(services, job_id, beats.place(job_id, start))
        beats.passed(job_id, place)
        last: bytes | None = None
        silent = False
        while True:
            batch = await services.call(events.read, job_id, place.events)
            lines, finished = batch.lines, batch.state == "ended"
            if silent and not lines and not finished and last and heartbeats.repeatable(last):
                beats.add(job_id, place, utc_now())
            time = beats.due(job_id, place)
            if time is not None:
                last = last or await _event_before(services, job_id, place)
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
                silent = not await wakeup.wait(heartbeats.SECONDS)
                last = last or await _event_before(services, job_id, place)
    finally:
        unsubscribe()


async def _existing(services: Services, job_id: str, place: Place) -> Place:
    """Return the position, or one that exists.

    A number from before the engine's last start may count heartbeats that are forgotten. It
    stands for the end of the stream, or for the last events of a job that has ended.
    """
    if not place.events or await _event_before(services, job_id, place) is not None:
        return place
    count = await services.call(services.store.jobs.event_count, job_id)
    batch = await services.call(services.prepare.events.read, job_id, count)
    is_over = batch.state == "ended"
    return Place(max(0, count - _LAST_EVENTS) if is_over else count, place.beats)


async def _event_before(services: Services, job_id: str, place: Place) -> bytes | None:
    if not place.events:
        return None
    batch = await services.call(services.prepare.events.read, job_id, place.events - 1)
    return batch.lines[0] if batch.lines else None


async def run_stream(services: Services, body: Json) -> StreamReply:
    """Start a run and return its output; it is cancelled when the client leaves.

    Raises Unavailable when too many streams are open, and what ``Runs.open`` raises.
    """
    services.streams.take()
    try:
        run = await services.call(services.runs.open, body)
    except BaseException:
        services.streams.give_back()
        raise
    return StreamReply(_run_lines(run), on_end=_ending(run, services.streams.give_back))


async def _run_lines(run: Run) -> AsyncIterator[bytes]:
    wakeup = Wakeup()
    run.start(wakeup.wake)
    while not run.finished:
        events = run.take()
        if events:
            yield stream.encode(events)
        else:
            await wakeup.wait()


def _ending(run: Run, give_back: Callable[[], None]) -> Callable[[], None]:
    def end() -> None:
        give_back()
        if not run.finished:
            # Cancelling waits for processes to end, which the event loop must not.
            asyncio.get_running_loop().run_in_executor(None, run.cancel)

    return end
