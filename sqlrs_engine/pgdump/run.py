"""pg_dump at work."""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlrs_engine.processes.output import Lines

from .advice import failure
from .filters import Filters
from .source import Source

_CHUNK_BYTES = 1024 * 1024
_KEPT_LINES = 200
_GRACE_SECONDS = 2.0

# Level 1 takes a third of the time of the default, and a tenth more space. Other methods than gzip
# are missing in some builds of pg_restore. A subscription that is dropped in the copy would drop
# its slot on the publisher.
_OPTIONS = (
    "--format=custom",
    "--compress=1",
    "--no-subscriptions",
    "--no-password",
    "--verbose",
)
_TABLE = re.compile(r'pg_dump: dumping contents of table "?(?P<name>.+?)"?$')


class DumpRun:
    """A running pg_dump that writes its custom format; leaving the ``with`` block ends it.

    ``table`` is the table whose rows it reads now, empty before the first.
    """

    def __init__(self, program: Path, source: Source, filters: Filters, *, tls: bool) -> None:
        """``tls`` is whether the connection has to be encrypted. Raises OSError."""
        self.table = ""
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._process = subprocess.Popen(
            [program, *_OPTIONS, *filters.arguments(), *source.program_arguments()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=_environment(source, tls=tls),
            # Ctrl-C is for the command, which ends it.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read_messages, name="pg_dump", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def chunks(self) -> Iterator[bytes]:
        """Yield the dump; its end is its success. Raises DumpFailed."""
        output = self._process.stdout
        assert output is not None  # noqa: S101 - a pipe
        with contextlib.suppress(OSError):  # fewer and larger reads, where that is allowed
            fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, _CHUNK_BYTES)
        while chunk := os.read(output.fileno(), _CHUNK_BYTES):
            yield chunk
        code = self._process.wait()
        self._reader.join()
        if code != 0:
            raise failure(code, list(self._lines))

    def close(self) -> None:
        """End pg_dump, whose query on the server is cancelled, if it still runs."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_GRACE_SECONDS)
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _read_messages(self) -> None:
        errors = self._process.stderr
        assert errors is not None  # noqa: S101 - a pipe
        lines = Lines(self._on_line)
        while chunk := os.read(errors.fileno(), _CHUNK_BYTES):
            lines.add(chunk)
        lines.end()

    def _on_line(self, line: str) -> None:
        self._lines.append(line)
        if found := _TABLE.match(line):
            self.table = found["name"]


def _environment(source: Source, *, tls: bool) -> dict[str, str]:
    """Return the environment of pg_dump, whose messages are in English."""
    environ = source.program_environment()
    if tls and environ.get("PGSSLMODE", "prefer") in ("allow", "prefer"):
        # Other builds of libpq than this process's would quietly do without.
        environ["PGSSLMODE"] = "require"
    return {**environ, "LC_ALL": "C"}
