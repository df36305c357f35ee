"""The commands that people type, run as processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

from support import base_states
from support.fix_engine import end_processes_in, environment


class Shell:
    """Runs commands with a state directory and a home of their own.

    ``environ`` is added to their environment.
    """

    def __init__(self, home: Path, **environ: str) -> None:
        self.home = home
        self.environ = environ
        self.state_dir = home / ".local" / "state" / "sqlrs"

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "sqlrs_engine", *args]

    def run(self, *args: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command and return how it ended."""
        store = self.state_dir / "store"
        if args[0] == "prepare" and not store.exists():
            store.mkdir(mode=0o700, parents=True)
            base_states.seed(store)
        return subprocess.run(
            self.command(*args),
            env=environment(self.home, **self.environ),
            cwd=self.home,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def out(self, *args: str, input: str | None = None) -> str:
        """Run a command that must succeed and return what it printed."""
        ended = self.run(*args, input=input)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def json(self, *args: str) -> object:
        return json.loads(self.out(*args, "--json"))

    def close(self) -> None:
        self.run("stop")
        end_processes_in(self.home)
