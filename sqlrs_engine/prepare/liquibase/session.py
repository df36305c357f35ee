"""A Liquibase process that reads one changelog and applies its changesets one at a time.

Its JVM starts once, with our ``session.jar`` beside Liquibase's own; the source is in ``java``.
Requests go to its standard input, a line each; answers come back as lines that begin with the
byte 1. What else it prints is for people.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sqlrs_engine.errors import LiquibaseUnavailable, StepFailed
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.processes.followed import Lines, OnLine
from sqlrs_engine.store.records import Json

from .changelog import Changelog, Changeset

_MARK = "\x01"
_CHUNK = 64 * 1024
_TAIL_LINES = 40
_LONGEST_ANSWER = 1 << 30  # bytes: a changelog of any size is one line
_TAIL_CHARS = 8 * 1024

# Set last, in this order: with another role less may be allowed.
_ROLES = ("session_authorization", "role")
_SETTINGS = {"LANG": "C.UTF-8", "LIQUIBASE_SHOW_BANNER": "false"}


class Session:
    """One run of Liquibase; used by one thread at a time."""

    def __init__(
        self, command: Sequence[str], directory: Path, environment: Mapping[str, str]
    ) -> None:
        """Start it; ``environment`` is all that it sees. Raises LiquibaseUnavailable."""
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env=dict(environment),
                start_new_session=True,
            )
        except OSError as error:
            raise LiquibaseUnavailable("Liquibase cannot be run", str(error)) from error
        self._told: deque[str] = deque(maxlen=_TAIL_LINES)
        self._answers: deque[str] = deque()
        self._on_line: OnLine = lambda line: None
        self._lines = Lines(self._heard, longest=_LONGEST_ANSWER)
        self._ready = False
        self._asked = False

    @property
    def idle(self) -> bool:
        """Whether it waits for a request; not when it was left in the middle of one."""
        return not self._asked and self._exit_code() is None

    def _exit_code(self, options: int = os.WNOHANG) -> int | None:
        """Return how it has ended, None when it runs.

        It is not reaped: until then no other process can have its id.
        """
        if self._process.returncode is not None:
            return self._process.returncode
        ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | options)
        return None if ended is None else ended.si_status

    def plan(self, url: str, control: Cancellation, on_line: OnLine) -> Changelog:
        """Read the changelog as for a database like that of ``url``, which is an offline one.

        Raises StepFailed with Liquibase's own words, and what ``control.check`` does.
        """
        answer = self._ask(["plan", url], control, on_line)
        if answer.get("incompatible"):
            raise StepFailed(
                "this version of Liquibase is unknown to the engine: install 4.29", answer["error"]
            )
        if "error" in answer:
            raise StepFailed("Liquibase cannot read the changelog", answer["error"])
        return Changelog.from_json(answer)

    def apply(
        self,
        index: int | None,
        changeset: Changeset | None,
        connection: tuple[str, str, str],
        settings: Mapping[str, str],
        control: Cancellation,
        on_line: OnLine,
    ) -> tuple[list[str], dict[str, str]]:
        """Apply a planned changeset, None for the tables of Liquibase's own only.

        ``connection`` is a JDBC URL, a user and a password. ``settings`` are what the database
        session of the changeset before had set. Returns the URIs of the files read, and the
        settings that the changeset leaves.
        Raises StepFailed with the changeset and Liquibase's own words, and what
        ``control.check`` does.
        """
        roles = {name: settings[name] for name in _ROLES if name in settings}
        ordered = [*(each for each in settings.items() if each[0] not in roles), *roles.items()]
        request = ["apply", str(-1 if index is None else index), *connection, urlencode(ordered)]
        answer = self._ask(request, control, on_line)
        if "error" not in answer:
            return answer["files"], answer["settings"]
        self._told.clear()
        if answer["incompatible"]:
            raise StepFailed(
                "this version of Liquibase cannot run in a session: set liquibase.mode to command",
                answer["error"],
            )
        what = f"changeset {changeset.name}" if changeset else "the changelog's tables"
        details = f"{what}: {answer['error']}"[:_TAIL_CHARS]
        raise StepFailed("liquibase execution failed", details)

    def close(self) -> None:
        """End the process and all that it started."""
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._process.wait()

    def _ask(self, request: Sequence[str], control: Cancellation, on_line: OnLine) -> Json:
        self._on_line = on_line
        if not self._ready:
            self._asked = True
            self._answer(control)
            self._ready = True
        self._asked = True
        self._send("\t".join(request) + "\n")
        answer = self._answer(control)
        self._asked = False
        return answer

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        # When it has died, the missing answer tells why.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()

    def _answer(self, control: Cancellation) -> Json:
        """Return the next answer. Raises StepFailed when the process ends without one."""
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        pipe, woken = self._process.stdout.fileno(), os.eventfd(0, os.EFD_CLOEXEC)
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        poll.register(woken, select.POLLIN)
        try:
            with control.calling(lambda: os.eventfd_write(woken, 1)):
                while not self._answers:
                    ready = [descriptor for descriptor, _ in poll.poll()]
                    control.check()
                    if pipe in ready:
                        self._read(pipe)
        finally:
            os.close(woken)
        try:
            answer: Json = json.loads(self._answers.popleft())
        except ValueError as error:
            raise StepFailed("Liquibase's answer makes no sense", str(error)) from error
        return answer

    def _read(self, pipe: int) -> None:
        chunk = os.read(pipe, _CHUNK)
        self._lines.add(chunk)
        if chunk:
            return
        self._lines.end()
        if not self._answers:
            code = self._exit_code(0)
            words = "\n".join([f"Liquibase ended with code {code}", *self._told])
            raise StepFailed("Liquibase ended unexpectedly", words[-_TAIL_CHARS:])

    def _heard(self, line: str) -> None:
        before, mark, answer = line.partition(_MARK)
        if mark:
            self._answers.append(answer)
        if before or not mark:
            self._told.append(before)
            self._on_line(before)


def session_environment(given: Mapping[str, Any], more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of Liquibase: a small one, what is given, what the session needs."""
    kept = ("PATH", "HOME", "TMPDIR", "TZ", "JAVA_HOME")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment.setdefault("PATH", os.defpath)
    own = {n: v for n, v in os.environ.items() if n.startswith("LIQUIBASE_")}
    return environment | own | _SETTINGS | dict(given) | dict(more)
