"""Liquibase by its own command line: one process per changeset, for versions without a session.

It makes the same states, slowly. ``update-count`` counts the changesets that have not run, so
changesets that run always, or never count as run, need all before them in the same process.
"""

from collections import deque
from collections.abc import Mapping, Sequence

from sqlrs_engine.errors import StepFailed
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.processes.output import Lines, OnLine

from .arguments import LiquibaseArguments
from .program import start

_TAIL_LINES = 60
_TAIL_CHARS = 8 * 1024


class Command:
    """Runs Liquibase's own program."""

    def __init__(
        self, program: Sequence[str], environment: Mapping[str, str], arguments: LiquibaseArguments
    ) -> None:
        """``program`` begins the command line; Liquibase sees exactly ``environment``."""
        self._program = program
        self._environment = environment
        self._arguments = arguments

    def update(
        self,
        count: int,
        connection: tuple[str, str, str],
        name: str,
        cancellation: Cancellation,
        on_line: OnLine,
    ) -> None:
        """Apply the first ``count`` changesets that have not run.

        ``connection`` is a JDBC URL, a user and a password; ``name`` is the changeset's, for
        errors. Raises StepFailed with Liquibase's output, LiquibaseUnavailable, and what
        ``cancellation.check`` does.
        """
        url, user, password = connection
        arguments = [f"--url={url}", f"--username={user}", *self._arguments.counting(count)]
        # Not on the command line, which every user of the machine can read.
        environment = {**self._environment, "LIQUIBASE_COMMAND_PASSWORD": password}
        tail: deque[str] = deque(maxlen=_TAIL_LINES)

        def on_output(line: str) -> None:
            tail.append(line)
            on_line(line)

        program = start([*self._program, *arguments], self._arguments.directory, environment)
        code = program.follow({"stdout": Lines(on_output)}, cancellation)
        cancellation.check()
        if code != 0:
            details = "\n".join([f"{name}: Liquibase ended with code {code}", *tail])
            raise StepFailed("liquibase execution failed", details[:_TAIL_CHARS])
