"""Restores by psql: of plain dumps, and of archives that pg_restore turns into a script."""

import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO

from sqlrs_engine.errors import InvalidArgument, StepFailed
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.prepare.file_reads import printable
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.processes.output import Lines
from sqlrs_engine.processes.program import Program

from .archive_restore import needed_roles, selected_entries
from .content import Content
from .files import DumpFile
from .options import SINGLE_TRANSACTION, RestoreOptions
from .progress import of, ticking
from .restore_output import FAILED
from .roles import Roles
from .script import Script
from .tools import Tool

_PIECE_BYTES = 1024 * 1024
_LINES = 60
_LINE_CHARS = 1024
_DETAILS_CHARS = 8 * 1024
_LOCATED = re.compile(r"psql:<stdin>:(?P<line>\d+): (?P<error>(?:ERROR|FATAL|PANIC|error): .*)")
_UNLOCATED = re.compile(r"(?:psql: )?(?:ERROR|FATAL|PANIC|error): ")


def restore_script(
    cluster: Cluster,
    dump: DumpFile,
    tool: Tool,
    options: RestoreOptions,
    roles: Roles,
    context: JobContext,
) -> None:
    """Restore a plain dump, starting in the database ``postgres``.

    Raises StepFailed with the object and the SQL error, DumpUnusable when the dump is damaged,
    InvalidArgument when it cannot be read, and what ``context.cancellation.check`` does.
    """
    with dump.path.open("rb") as file:
        content = Content(file, dump.path)
        script = Script(roles, cluster.distribution.major, context.log)

        def progress() -> str:
            return f"restore: {script.objects} objects, {of(content.position, dump.size)}"

        with ticking(context.log, progress):
            _run(cluster, tool, options, script, content, context)


def restore_as_script(
    cluster: Cluster,
    dump: DumpFile,
    tool: Tool,
    options: RestoreOptions,
    roles: Roles,
    context: JobContext,
) -> None:
    """Restore an archive through psql: for servers that refuse what their pg_restore sends.

    Raises as ``restore_script`` does.
    """
    selected = selected_entries(cluster, dump, tool, options, context)
    roles.need(needed_roles(selected, options))
    script = Script(roles, cluster.distribution.major, context.log)

    def progress() -> str:
        return f"restore: {script.objects} of {len(selected)} objects"

    with ticking(context.log, progress), _converted(cluster, dump, tool, options) as pieces:
        _run(cluster, tool, options, script, pieces, context)


@contextmanager
def _converted(
    cluster: Cluster, dump: DumpFile, tool: Tool, options: RestoreOptions
) -> Iterator[Iterable[bytes]]:
    """Yield the script that pg_restore makes of an archive."""
    with tempfile.TemporaryFile() as errors:
        arguments = ["--file=-", *options.arguments(), str(dump.path)]
        process = tool.start(cluster, arguments, stderr=errors)
        program = Program(process)

        def pieces() -> Iterator[bytes]:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            yield from iter(partial(os.read, process.stdout.fileno(), _PIECE_BYTES), b"")
            process.wait()
            if process.returncode != 0:
                errors.seek(0)
                text = errors.read(_DETAILS_CHARS).decode("utf-8", "replace").strip()
                raise StepFailed(FAILED, text)

        try:
            yield pieces()
        finally:
            program.close()


def _run(
    cluster: Cluster,
    tool: Tool,
    options: RestoreOptions,
    script: Script,
    pieces: Iterable[bytes],
    context: JobContext,
) -> None:
    """Have psql run a script."""
    output: list[str] = []

    def on_line(line: str) -> None:
        if len(output) < _LINES:
            output.append(line[:_LINE_CHARS])
        if line:
            context.log(f"psql: {line[:_LINE_CHARS]}")

    arguments = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", os.devnull, "-f", "-"]
    if options.has(SINGLE_TRANSACTION) and tool.program == "psql":
        arguments.insert(0, "-1")
    end = Cancellation()  # by the job, or because the script cannot be read
    source, sink = os.pipe2(os.O_CLOEXEC)
    with os.fdopen(source, "rb") as stdin, os.fdopen(sink, "wb", buffering=0) as pipe:
        process = cluster.client(
            "psql",
            arguments,
            port=None,
            distribution=tool.distribution,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        stdin.close()  # so that the end of psql ends the feeding
        program = Program(process)
        with (
            _Feed(pipe, script.edited(pieces), end.cancel) as feed,
            context.cancellation.calling(end.cancel),
        ):
            code = program.follow({"stdout": Lines(on_line)}, end)
    context.cancellation.check()
    if feed.error is not None:
        raise feed.error
    if code != 0:
        raise _failure(code, output, script)
    script.check_complete()


class _Feed:
    """A thread that writes pieces of text to a pipe, which it closes at the end."""

    def __init__(
        self, pipe: IO[bytes], pieces: Iterable[bytes], on_error: Callable[[], None]
    ) -> None:
        self._pipe = pipe
        self._pieces = pieces
        self._on_error = on_error
        self._thread = threading.Thread(target=self._work, name="restore", daemon=True)
        self.error: Exception | None = None

    def __enter__(self) -> "_Feed":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the end: by now nobody reads the pipe."""
        self._thread.join()

    def _work(self) -> None:
        try:
            for piece in self._pieces:
                left = memoryview(piece)
                while left:
                    left = left[self._pipe.write(left) :]
        except BrokenPipeError:
            pass  # psql has ended, and says why
        except OSError as error:
            self.error = InvalidArgument("cannot read file", printable(str(error)))
        except Exception as error:
            # Any error is the job's: it is raised in the job's thread.
            self.error = error
        if self.error is not None:
            # Before the pipe is closed: psql would take what it has got for all.
            self._on_error()
        else:
            self._pipe.close()


def _failure(code: int, output: list[str], script: Script) -> StepFailed:
    """Return the error for psql's output: the last error, with its object."""
    at = next((n for n, line in enumerate(output) if _LOCATED.match(line)), None)
    if at is None:
        at = next((n for n, line in enumerate(output) if _UNLOCATED.match(line)), None)
    if at is None:
        lines = [f"psql ended with code {code}", *output]
        return StepFailed(FAILED, "\n".join(lines)[:_DETAILS_CHARS])
    lines = output[at:]
    located = _LOCATED.match(lines[0])
    if located is not None:
        number = int(located["line"])
        named = script.object_at(number)
        place = f"line {number}" if named is None else f"{named} (line {number})"
        lines = [place, located["error"], *lines[1:]]
    return StepFailed(FAILED, "\n".join(lines)[:_DETAILS_CHARS])
