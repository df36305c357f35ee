"""What pg_restore prints: progress, remarks and the error."""

import re
from collections import deque

from sqlrs_engine.errors import DumpUnusable, StepFailed
from sqlrs_engine.prepare.job_context import JobContext

from .archive import DAMAGED

FAILED = "the restore failed"

_BEFORE = 5
_AFTER = 40
_DETAILS_CHARS = 8 * 1024
_LINE_CHARS = 1024

# What pg_restore --verbose says of its progress. Parallel workers write at the same time, so that a
# line may begin with the beginning of another.
_STARTED = re.compile(r"(?:^|:) *(?:creating |processing data for |executing |processing BLOBS)")
_LAUNCHED = " launching item "
_FINISHED = " finished item "
_NOISE = re.compile(
    r"(?:^|:) *(?:connecting |processing |entering |launching |finished |skipping "
    r"|restor(?:ing|ed) |enabling |disabling |dropping |implied |reconnecting |connected |setting "
    r"|transferring |reducing |no item ready|opening |closing |$)"
)
_ERROR = re.compile(r"pg_restore: (?:from TOC entry |error: )")
_DAMAGE = re.compile(
    r"pg_restore: error: (?:could not (?:uncompress|decompress|read from) |unexpected end of file|"
    r"corrupt tar|did not find magic string|unexpected block ID|unrecognized data block|"
    r"could not open input file|invalid |entry ID )"
)
_OBJECT = re.compile(r".*from TOC entry \d+; \d+ \d+ (?P<object>.+)")


class RestoreOutput:
    """What pg_restore prints: progress is counted, the rest logged."""

    def __init__(self, context: JobContext, objects: int) -> None:
        self._log = context.log
        self._objects = objects
        self._started = 0
        self._running = 0
        self._is_parallel = False
        self._before: deque[str] = deque(maxlen=_BEFORE)
        self._error: list[str] = []

    @property
    def progress(self) -> str:
        """How many objects are done."""
        running = self._running if self._is_parallel else 1
        done = min(max(self._started - running, 0), self._objects)
        return f"restore: {done} of {self._objects} objects"

    def on_line(self, line: str) -> None:
        """Receive a line."""
        if _ERROR.search(line):
            self._keep(line)
        elif _STARTED.search(line):
            self._started += 1
        elif _LAUNCHED in line:
            self._is_parallel = True
            self._running += 1
        elif _FINISHED in line:
            self._running -= 1
        elif not _NOISE.search(line):
            self._keep(line)

    def failure(self, code: int) -> StepFailed | DumpUnusable:
        """Return the error for what was printed."""
        lines = self._error or [f"pg_restore ended with code {code}", *self._before]
        found_object = next(
            (found["object"] for line in lines if (found := _OBJECT.match(line))), None
        )
        text = "\n".join(line[:_LINE_CHARS] for line in lines)[:_DETAILS_CHARS].rstrip()
        text = text if found_object is None else f"{found_object}\n{text}"
        return DumpUnusable(DAMAGED, text) if _DAMAGE.search(text) else StepFailed(FAILED, text)

    def _keep(self, line: str) -> None:
        if self._error or _ERROR.search(line):
            if len(self._error) < _AFTER:
                self._error.append(line)
        else:
            self._before.append(line)
        if line:
            self._log(line[:_LINE_CHARS])
