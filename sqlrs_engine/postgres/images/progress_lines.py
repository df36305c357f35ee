"""The progress of a pull as lines for people, at most a few a second."""

import time
from collections.abc import Callable

from .progress import Progress

_MEBIBYTE = 1 << 20

_WORDS = {
    "resolving": "looking it up",
    "waiting": "waiting for another pull of it",
    "unpacking": "putting its files together",
    "finishing": "making its PostgreSQL runnable",
}


class ProgressLines:
    """Writes a line for each phase and, while layers are downloaded, for what is done so far."""

    def __init__(
        self,
        name: str,
        write: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
        *,
        seconds_between: float = 0.5,
    ) -> None:
        """``name`` is that of the image or the file."""
        self._name = name
        self._write = write
        self._clock = clock
        self._seconds_between = seconds_between
        self._last = ""
        self._phase = ""
        self._due = 0.0

    def __call__(self, progress: Progress) -> None:
        """Write a line unless it is too soon for one, or would repeat the last."""
        now = self._clock()
        if progress.phase == self._phase and now < self._due:
            return
        line = f"{self._name}: {describe(progress)}"
        if line != self._last:
            self._write(line)
        self._last, self._phase, self._due = line, progress.phase, now + self._seconds_between


def describe(progress: Progress) -> str:
    """Return what the pull does now, in a few words."""
    if progress.phase == "downloading":
        return f"{mebibytes(progress.done_bytes)} of {mebibytes(progress.total_bytes)} MiB"
    return _WORDS[progress.phase]


def mebibytes(number: float) -> str:
    """Return a number of bytes in MiB, as all commands show sizes, with one decimal."""
    return f"{number / _MEBIBYTE:.1f}"
