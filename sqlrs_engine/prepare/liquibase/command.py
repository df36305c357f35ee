"""Liquibase by its own command line: a process a changeset, where a session cannot be had.

It makes the same states, and takes its time. ``update-count`` counts the changesets that have
not run, so what is run again or never counted as run has to be run from the start, in one go.
"""

import subprocess
from collections import deque
from collections.abc import Mapping, Sequence

from sqlrs_engine.errors import LiquibaseUnavailable, StepFailed
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.processes.followed import OnLine, follow

from .arguments import LiquibaseArguments

_TAIL_LINES = 60
_TAIL_CHARS = 8 * 1024


class Command:
    """Liquibase as a program."""

    def __init__(
        self, program: Sequence[str], environment: Mapping[str, str], arguments: LiquibaseArguments
    ) -> None:
        """``program`` is how it starts, ``environment`` all that it sees."""
        self._program = program
        self._environment = environment
        self._arguments = arguments

    def update(
        self,
        count: int,
        connection: tuple[str, str, str],
        what: str,
        control: Cancellation,
        on_line: OnLine,
    ) -> None:
        """Apply the first ``count`` changesets that have not run.

        ``connection`` is a JDBC URL, a user and a password; ``what`` names the changeset in
        errors. Raises StepFailed with Liquibase's own words, LiquibaseUnavailable, and what
        ``control.check`` does.
        """
        url, user, password = connection
        line = [f"--url={url}", f"--username={user}", *self._arguments.counting(count)]
        tail: deque[str] = deque(maxlen=_TAIL_LINES)

        def heard(text: str) -> None:
            tail.append(text)
            on_line(text)

        with self._start([*self._program, *line], password) as process:
            follow(process, control, heard)
        control.check()
        if process.returncode == 0:
            return
        details = "\n".join([f"{what}: Liquibase ended with code {process.returncode}", *tail])
        raise StepFailed("liquibase execution failed", details[:_TAIL_CHARS])

    def _start(self, line: Sequence[str], password: str) -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self._arguments.directory,
                # Not on the command line, which everybody on the machine can read.
                env={**self._environment, "LIQUIBASE_COMMAND_PASSWORD": password},
                start_new_session=True,
            )
        except OSError as error:
            raise LiquibaseUnavailable("Liquibase cannot be run", str(error)) from error
