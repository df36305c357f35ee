"""A command as a step: what it runs, and what of it counts in the state's id."""

import os
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from sqlrs_engine.conntrack import Conntrack
from sqlrs_engine.errors import Conflict, InvalidArgument, ProgramUnavailable, StepFailed
from sqlrs_engine.postgres.log_file import LogFile
from sqlrs_engine.prepare.file_reads import printable
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.step import Site, Step
from sqlrs_engine.store.records import Json

from .environment import Environment
from .inputs import Inputs
from .program import Program
from .runner import HIDDEN, Invocation, run_command

_SUMMARY_CHARS = 200

SERVER_ERROR = "\nthe server's last error:\n"
"""What precedes, in the details of a failed command, an error as the server words it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandStep(Step):
    """A step that runs ``program`` in ``work_dir``.

    It and ``inputs`` are as they were when the id was computed; ``find_program`` and
    ``read_inputs`` return them as they are.
    """

    kind = "command"
    tcp = True
    observed_directories = 5000  # most programs take longer to start than these to be found

    argv: tuple[str, ...]
    program: Program
    work_dir: Path
    environment: Environment
    find_program: Callable[[], Program]
    inputs: Inputs
    read_inputs: Callable[[], Inputs]

    @property
    def changed_files(self) -> list[Path]:
        """The inputs, and the program, whose content has changed.

        A program may write an input, as long as it writes what was there.
        """
        changed = [] if self._is_same_program() else [self.program.path]
        try:
            now = self.read_inputs()
        except InvalidArgument:
            gone = [file.path for file in self.inputs.reads if not file.unchanged()]
            return [*changed, *(gone or [self.work_dir])]
        return [*changed, *(self.work_dir / path for path in now.different(self.inputs))]

    @property
    def places(self) -> Collection[Path]:
        """No directories besides ``work_dir``: that of the program is everyone's."""
        return ()

    def conflict(self, changed: Collection[Path]) -> Conflict:
        """Return the error for inputs that changed while the program ran."""
        return Conflict(
            "an input changed while the command ran: prepare again, or leave it out of the "
            "inputs if the command writes it",
            printable(", ".join(map(str, changed))),
        )

    def reads_names_in(self, directory: str) -> bool:
        """Return whether there are inputs in a directory: a new file is one, or is not meant."""
        places = {file.read.path.parent for file in self.inputs.files}
        return any(os.path.realpath(place) == directory for place in places)

    def _is_same_program(self) -> bool:
        try:
            return self.find_program().digest == self.program.digest
        except (InvalidArgument, ProgramUnavailable):
            return False

    def task(self) -> Json:
        """Return the fields of its task."""
        return {"args_summary": summary(self.argv)}

    def run(self, site: Site, context: JobContext) -> None:
        """Run the program, which reaches the server by TCP."""
        assert site.port is not None  # noqa: S101 - tcp is set
        name = PurePath(self.argv[0]).name
        context.log(f"{name}: start")
        password = site.password
        sessions = Conntrack().read(site.cluster, site.port).sessions
        invocation = Invocation(
            argv=self.argv,
            path=self.program.path,
            work_dir=self.work_dir,
            environment=self.environment.connected(site.port, password),
            secret=password,
        )
        with site.cluster.log() as log, _server_errors(log, password):
            run_command(
                invocation,
                site.container,
                context.cancellation,
                lambda line: context.log(f"{name}: {line}"),
            )
        now = Conntrack().read(site.cluster, site.port)
        if now.connections:
            site.cluster.end_sessions(site.port)
        if sessions is not None and not now.shows_use_since(sessions):
            context.log(
                f"warning: {name} did not connect to its database, perhaps to another one: if it "
                "does not read DATABASE_URL, set its own variables in env"
            )


@contextmanager
def _server_errors(log: LogFile, secret: str) -> Iterator[None]:
    """Add the server's last error to that of a program which does not print it as psql does."""
    try:
        yield
    except StepFailed as failed:
        error = log.last_error()
        details = failed.details or ""
        if error is None or error.partition("\n")[0] in details:
            raise
        told = error.replace(secret, HIDDEN)
        raise StepFailed(
            failed.message, f"{details}{SERVER_ERROR}{told}", facts=failed.facts
        ) from failed


def summary(argv: tuple[str, ...]) -> str:
    """Return a command line as it is shown."""
    return shlex.join(argv)[:_SUMMARY_CHARS]


def recipe(
    argv: tuple[str, ...],
    inputs: Inputs,
    program: Json,
    environment: Environment,
    settings: Mapping[str, Any],
) -> Json:
    """Return all that can change what a command does, as JSON.

    The place of ``work_dir`` is no part of it, so that two checkouts share their states.
    """
    declared = sorted(environment.declared.items())
    counted: Json = {
        "input": "program",
        "content": inputs.digest,
        "argv": list(argv),
        "program": program,
        "options": [["v", f"{name}={value}"] for name, value in declared],
    }
    if settings:
        counted["settings"] = dict(settings)
    return counted


def origin(argv: tuple[str, ...], inputs: Inputs) -> Json:
    """Return what a recipe has besides, for comparisons: it does not count in the id."""
    return {"source": "program", "summary": summary(argv), "files": inputs.shown()}
