"""A Liquibase process that reads one changelog and applies its changesets one at a time.

Its JVM starts once, with ``session.jar`` beside Liquibase's own jars; the source is in ``java``.
Requests go to its standard input, one per line; answers are lines of its output that begin with
the byte 1. All other output is for people.
"""

import json
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

from sqlrs_engine.errors import StepFailed
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.processes.output import Lines, OnLine
from sqlrs_engine.store.records import Json

from .changelog import Changelog, Changeset
from .program import start

_MARK = "\x01"
_TAIL_LINES = 40
_LONGEST_ANSWER = 1 << 30  # bytes: a changelog of any size is one line
_TAIL_CHARS = 8 * 1024

# Set last, in this order: another role may be allowed less.
_ROLES = ("session_authorization", "role")


class Session:
    """A running Liquibase process; used by one thread at a time."""

    def __init__(
        self, command: Sequence[str], directory: Path, environment: Mapping[str, str]
    ) -> None:
        """Start Liquibase with exactly this ``environment``. Raises LiquibaseUnavailable."""
        self._program = start(command, directory, environment, reads=True)
        self._printed: deque[str] = deque(maxlen=_TAIL_LINES)
        self._answers: deque[str] = deque()
        self._on_line: OnLine = lambda line: None
        self._lines = Lines(self._line, longest=_LONGEST_ANSWER)
        self._ready = False
        self._awaits_answer = False

    @property
    def idle(self) -> bool:
        """Whether the process waits for a request; False after a request was abandoned."""
        return not self._awaits_answer and self._program.running

    def plan(self, url: str, cancellation: Cancellation, on_line: OnLine) -> Changelog:
        """Read the changelog for a database like that of ``url``, an offline URL of Liquibase's.

        Raises StepFailed with Liquibase's error, and what ``cancellation.check`` does.
        """
        answer = self._request(["plan", url], cancellation, on_line)
        if answer.get("incompatible"):
            raise StepFailed(
                "the engine does not know this version of Liquibase: install 4.29", answer["error"]
            )
        if "error" in answer:
            raise StepFailed("Liquibase cannot read the changelog: correct it", answer["error"])
        return Changelog.from_json(answer)

    def apply(
        self,
        index: int | None,
        changeset: Changeset | None,
        connection: tuple[str, str, str],
        settings: Mapping[str, str],
        cancellation: Cancellation,
        on_line: OnLine,
    ) -> list[str]:
        """Apply a planned changeset and return the URIs of the files read; see ``leave``.

        Without a changeset, only Liquibase's own tables are made. ``connection`` is a JDBC URL, a
        user and a password. ``settings`` are those that the database session of the changeset
        before had left: changesets in a row share the session as long as the URL is the same.

        Raises StepFailed with the changeset and Liquibase's error, and what
        ``cancellation.check`` does.
        """
        roles = {name: settings[name] for name in _ROLES if name in settings}
        ordered = [*(each for each in settings.items() if each[0] not in roles), *roles.items()]
        request = ["apply", str(-1 if index is None else index), *connection, urlencode(ordered)]
        answer = self._request(request, cancellation, on_line)
        if "error" not in answer:
            files: list[str] = answer["files"]
            return files
        self._printed.clear()
        if answer["incompatible"]:
            raise StepFailed(
                "this version of Liquibase cannot run in a session: set liquibase.mode to command",
                answer["error"],
            )
        what = f"changeset {changeset.name}" if changeset else "the changelog's tables"
        details = f"{what}: {answer['error']}"[:_TAIL_CHARS]
        raise StepFailed("liquibase execution failed", details)

    def leave(self, cancellation: Cancellation, on_line: OnLine) -> dict[str, str]:
        """End the database session; return the settings that it leaves.

        Raises StepFailed with Liquibase's error, and what ``cancellation.check`` does.
        """
        answer = self._request(["leave"], cancellation, on_line)
        if "error" in answer:
            raise StepFailed("liquibase execution failed", answer["error"][:_TAIL_CHARS])
        settings: dict[str, str] = answer["settings"]
        return settings

    def close(self) -> None:
        """Kill the process and all that it started."""
        self._program.close()

    def _request(self, request: Sequence[str], cancellation: Cancellation, on_line: OnLine) -> Json:
        self._on_line = on_line
        self._awaits_answer = True
        if not self._ready:
            self._answer(cancellation)
            self._ready = True
        # If it has died, the missing answer says why.
        self._program.write(("\t".join(request) + "\n").encode())
        answer = self._answer(cancellation)
        self._awaits_answer = False
        return answer

    def _answer(self, cancellation: Cancellation) -> Json:
        """Return the next answer. Raises StepFailed when the process ends without one."""
        self._program.read(
            {"stdout": self._lines},
            cancellation,
            until=lambda: bool(self._answers),
            signals=[signal.SIGKILL],
        )
        cancellation.check()
        if not self._answers:
            code = self._program.close()
            details = "\n".join([f"Liquibase ended with code {code}", *self._printed])
            raise StepFailed("Liquibase ended unexpectedly: prepare again", details[-_TAIL_CHARS:])
        try:
            answer: Json = json.loads(self._answers.popleft())
        except ValueError as error:
            raise StepFailed(
                "Liquibase sent an unexpected answer: try again, or set liquibase.mode to command",
                str(error),
            ) from error
        return answer

    def _line(self, line: str) -> None:
        before, mark, answer = line.partition(_MARK)
        if mark:
            self._answers.append(answer)
        if before or not mark:
            self._printed.append(before)
            self._on_line(before)
