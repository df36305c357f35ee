"""The commands that people type, run as processes of their own."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from support import base_states
from support.fix_engine import end_processes_in, environment

_MAKE_STATES = ("prepare", "up", "plan", "explain")


def python_of(user: int) -> str | None:
    """Return an interpreter of our own version that the user can run, None if there is none."""
    program = "import sys; print(sys.version_info[:2])"
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            answer = subprocess.run(
                [python, "-c", program],
                user=user,
                group=user,
                extra_groups=[],
                cwd="/",
                capture_output=True,
                text=True,
                check=False,
            )
            if answer.stdout.strip() == str(sys.version_info[:2]):
                return python
    return None


class Shell:
    """Runs commands with a state directory and a home of their own.

    ``environ`` is added to their environment; ``directory``, at first the home, is where they run.
    With a ``python`` of ``python_of``, they run as the ``user``, who owns the home.
    """

    def __init__(
        self,
        home: Path,
        *,
        user: int | None = None,
        python: str = sys.executable,
        **environ: str,
    ) -> None:
        self.home = home
        self.directory = home
        self.user = user
        self.python = python
        self.environ = environ
        self.state_dir = home / ".local" / "state" / "sqlrs"

    def at(self, directory: Path, **environ: str) -> "Shell":
        """Return a shell with the same home in another directory."""
        other = Shell(self.home, user=self.user, python=self.python, **{**self.environ, **environ})
        other.directory = directory
        return other

    def command(self, *args: str) -> list[str]:
        return [self.python, "-m", "sqlrs_engine", *args]

    def run(
        self, *args: str, input: str | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, in the directory or in ``cwd``, and return how it ended."""
        store = self.state_dir / "store"
        if args[0] in _MAKE_STATES and self.user is None and not store.exists():
            store.mkdir(mode=0o700, parents=True)
            base_states.seed(store)
        return subprocess.run(
            self.command(*args),
            env=environment(self.home, **self.environ),
            cwd=cwd or self.directory,
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def out(self, *args: str, input: str | None = None, cwd: Path | None = None) -> str:
        """Run a command that must succeed and return what it printed."""
        ended = self.run(*args, input=input, cwd=cwd)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def json(self, *args: str, cwd: Path | None = None) -> Any:
        return json.loads(self.out(*args, "--json", cwd=cwd))

    def close(self) -> None:
        self.run("stop")
        end_processes_in(self.home)
