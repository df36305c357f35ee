"""Restores of archives by pg_restore."""

import os
import re
import subprocess
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from sqlrs_engine.errors import DumpUnusable, StepFailed
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.processes.output import Lines
from sqlrs_engine.processes.program import Program

from .archive import DAMAGED, Entry
from .files import DumpFile
from .options import SINGLE_TRANSACTION, RestoreOptions
from .progress import of, ticking
from .roles import DEFINITIONS, Roles, is_ordinary, mentioned
from .tools import Tool

FAILED = "the restore failed"

_BEFORE = 5
_AFTER = 40
_DETAILS_CHARS = 8 * 1024
_LINE_CHARS = 1024

_LISTED = re.compile(r"(\d+); ")
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


def restore_archive(
    cluster: Cluster,
    dump: DumpFile,
    tool: Tool,
    options: RestoreOptions,
    roles: Roles,
    context: JobContext,
) -> None:
    """Restore an archive into the cluster's database ``postgres``.

    Raises StepFailed with the object and the SQL error, DumpUnusable when the archive is damaged,
    and what ``context.cancellation.check`` does.
    """
    selected = selected_entries(cluster, dump, tool, options, context)
    roles.need(needed_roles(selected, options))
    output = _Output(context, len(selected))
    arguments = ["--exit-on-error", "--verbose", "--dbname=postgres", *options.arguments()]
    if dump.format != "tar" and not options.has(SINGLE_TRANSACTION):
        arguments.append(f"--jobs={len(os.sched_getaffinity(0))}")
    process = cluster.client(
        tool.program,
        [*arguments, str(dump.path)],
        port=None,
        distribution=tool.distribution,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )

    def progress() -> str:
        return f"{output.progress}, {of(min(_bytes_read(process.pid), dump.size), dump.size)}"

    with ticking(context.log, progress):
        code = Program(process).follow({"stdout": Lines(output.on_line)}, context.cancellation)
    context.cancellation.check()
    if code != 0:
        raise output.failure(code)


def selected_entries(
    cluster: Cluster,
    dump: DumpFile,
    tool: Tool,
    options: RestoreOptions,
    context: JobContext,
) -> list[Entry]:
    """Return the objects that a restore with these options makes.

    Raises StepFailed when pg_restore refuses the options, DumpUnusable when the archive.
    """
    output = _Output(context, 0)
    numbers: set[int] = set()

    def on_line(line: str) -> None:
        if (listed := _LISTED.match(line)) is not None:
            numbers.add(int(listed[1]))
        elif line and not line.startswith(";"):
            output.on_line(line)

    process = cluster.client(
        tool.program,
        ["--list", *options.arguments(), str(dump.path)],
        port=None,
        distribution=tool.distribution,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    code = Program(process).follow({"stdout": Lines(on_line)}, context.cancellation)
    context.cancellation.check()
    if code != 0:
        raise output.failure(code)
    with dump.archive() as archive:
        return [entry for entry in archive.entries() if entry.number in numbers]


def needed_roles(entries: list[Entry], options: RestoreOptions) -> set[str]:
    """Return the roles that the definitions of objects mention, their owners included."""
    roles: set[str] = set()
    for entry in entries:
        if not options.has("no-owner") and is_ordinary(entry.owner):
            roles.add(entry.owner)
        if entry.kind in DEFINITIONS:
            for line in entry.definition.splitlines():
                roles.update(mentioned(line))
    return roles


class _Output:
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


def _bytes_read(pid: int) -> int:
    """Return how many bytes a process and its children have read; 0 when it has ended."""
    return sum(_read_by(each) for each in (pid, *_children(pid)))


def _children(pid: int) -> Iterator[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return
    yield from map(int, text.split())


def _read_by(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("rchar:")), 0)
