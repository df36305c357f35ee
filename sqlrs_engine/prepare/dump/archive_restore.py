"""Restores of archives by pg_restore."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.processes.output import Lines
from sqlrs_engine.processes.program import Program

from .archive import Entry
from .files import DumpFile
from .options import SINGLE_TRANSACTION, RestoreOptions
from .parts import Part, parts
from .progress import of, ticking
from .restore_output import RestoreOutput
from .roles import DEFINITIONS, Roles, is_ordinary, mentioned
from .tools import Tool

_LISTED = re.compile(r"(\d+); ")


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
    output = RestoreOutput(context, len(selected))
    is_serial = dump.format == "tar" or options.has(SINGLE_TRANSACTION)
    jobs = 1 if is_serial else len(os.sched_getaffinity(0))
    for part in parts(selected, options, jobs):
        _run(cluster, dump, tool, options, part, output, context)


def _run(
    cluster: Cluster,
    dump: DumpFile,
    tool: Tool,
    options: RestoreOptions,
    part: Part,
    output: RestoreOutput,
    context: JobContext,
) -> None:
    arguments = ["--exit-on-error", "--verbose", "--dbname=postgres", *options.arguments()]
    if part.jobs > 1:
        arguments.append(f"--jobs={part.jobs}")
    with ExitStack() as cleanup:
        if part.numbers is not None:
            chosen = cleanup.enter_context(_list_file(cluster))
            chosen.writelines(f"{number};\n" for number in part.numbers)
            chosen.flush()
            arguments.append(f"--use-list={chosen.name}")
        process = tool.start(cluster, [*arguments, str(dump.path)])

        def progress() -> str:
            return f"{output.progress}, {of(min(_bytes_read(process.pid), dump.size), dump.size)}"

        with ticking(context.log, progress):
            code = Program(process).follow({"stdout": Lines(output.on_line)}, context.cancellation)
    context.cancellation.check()
    if code != 0:
        raise output.failure(code)


def _list_file(cluster: Cluster) -> "tempfile._TemporaryFileWrapper[str]":
    """Open a file beside the cluster, removed when it is closed."""
    return tempfile.NamedTemporaryFile("w", prefix="restore-", dir=cluster.data_dir.parent)


def selected_entries(
    cluster: Cluster,
    dump: DumpFile,
    tool: Tool,
    options: RestoreOptions,
    context: JobContext,
) -> list[Entry]:
    """Return the objects that a restore with these options makes, with definitions that name roles.

    Raises StepFailed when pg_restore refuses the options, DumpUnusable when the archive.
    """
    output = RestoreOutput(context, 0)
    numbers: set[int] = set()

    def on_line(line: str) -> None:
        if (listed := _LISTED.match(line)) is not None:
            numbers.add(int(listed[1]))
        elif line and not line.startswith(";"):
            output.on_line(line)

    process = tool.start(cluster, ["--list", *options.arguments(), str(dump.path)])
    code = Program(process).follow({"stdout": Lines(on_line)}, context.cancellation)
    context.cancellation.check()
    if code != 0:
        raise output.failure(code)
    with dump.archive() as archive:
        found = (entry for entry in archive.entries() if entry.number in numbers)
        return [
            entry if entry.kind in DEFINITIONS else replace(entry, definition="") for entry in found
        ]


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
