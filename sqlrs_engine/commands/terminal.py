"""What a command sees of the outside: streams, environment, default places."""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ..controls import visible, visible_json

SHORT_ID = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """The streams, the environment and the working directory of a command.

    What is printed has its control characters made visible: much of it was written by others.
    """

    environ: Mapping[str, str]
    cwd: Path
    stdin: TextIO
    stdout: TextIO
    stderr: TextIO

    def print(self, *lines: str) -> None:
        """Print results to standard output."""
        for line in lines:
            self.stdout.write(f"{visible(line)}\n")
        self.stdout.flush()

    def tell(self, *lines: str) -> None:
        """Print progress, warnings and errors to standard error."""
        for line in lines:
            self.stderr.write(f"{visible(line)}\n")
        self.stderr.flush()

    def print_json(self, value: Any) -> None:
        """Print a value as indented JSON."""
        self.print(visible_json(json.dumps(value, indent=2, ensure_ascii=False)))

    def print_table(self, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print aligned columns, the headings first."""
        cells_of = ((_cell(text) for text in row) for row in rows)
        table = [tuple(headings), *(tuple(row) for row in cells_of)]
        widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
        for row in table:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.print("  ".join(cells).rstrip())


def _cell(text: str) -> str:
    """Return text for one cell of a table: on one line, as wide as it shows."""
    return visible(text).replace("\n", "\\n").replace("\t", " ")


def system_terminal(environ: Mapping[str, str]) -> Terminal:
    """Return the process's own terminal."""
    return Terminal(
        environ=environ,
        cwd=Path.cwd(),
        stdin=sys.stdin,
        stdout=sys.stdout,
        stderr=sys.stderr,
    )


@dataclass(frozen=True, slots=True)
class Places:
    """Where an engine keeps its things: ``engine.json``, logs and the state store."""

    state_dir: Path
    store: Path

    @property
    def engine_file(self) -> Path:
        """The file that leads clients to the running engine."""
        return self.state_dir / "engine.json"

    @property
    def log_file(self) -> Path:
        """The engine's log."""
        return self.state_dir / "logs" / "engine.log"


def places(state_dir: Path | None, environ: Mapping[str, str]) -> Places:
    """Return the places for ``--state-dir``, or the user's own.

    The default is ``$XDG_STATE_HOME/sqlrs``, else ``~/.local/state/sqlrs``; the store is
    ``$SQLRS_STATE_STORE``, else ``state-store`` beside ``engine.json``.
    """
    if state_dir is None:
        base = environ.get("XDG_STATE_HOME") or ""
        root = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
        state_dir = root / "sqlrs"
    state_dir = state_dir.absolute()
    return Places(state_dir, store_root(state_dir / "engine.json", environ))


def store_root(engine_file: Path, environ: Mapping[str, str]) -> Path:
    """Return the root of the state store of the engine with this engine file."""
    configured = environ.get("SQLRS_STATE_STORE")
    return Path(configured).absolute() if configured else engine_file.parent / "state-store"


def add_state_dir(parser: argparse.ArgumentParser) -> None:
    """Add the option every command shares."""
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help="where engine.json and the logs are (default: ~/.local/state/sqlrs)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def short(text: str | None) -> str:
    """Shorten an id, or the digest in an image id; ``-`` stands for nothing."""
    if not text:
        return "-"
    name, separator, digest = text.partition("@sha256:")
    return f"{name}@{digest[:SHORT_ID]}" if separator else text[:SHORT_ID]
