"""The surroundings of a command: streams, environment, default directories."""

import argparse
import json
import os
import pwd
import sys
import termios
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from sqlrs_engine.control_characters import visible, visible_json
from sqlrs_engine.daemon.engine_file import last_store
from sqlrs_engine.errors import InvalidArgument

SHORT_ID = 12
IMAGES_OF_ROOT = Path("/var/lib/sqlrs-engine/images")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """The streams, the environment and the working directory of a command.

    Control characters in the output are made visible: much of the text comes from elsewhere.
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

    def report(self, *lines: str) -> None:
        """Print progress, warnings and errors to standard error."""
        for line in lines:
            self.stderr.write(f"{visible(line)}\n")
        self.stderr.flush()

    @property
    def interactive(self) -> bool:
        """Whether a person can read a question and answer it."""
        return self.stdin.isatty() and self.stderr.isatty()

    def confirmed(self, question: str) -> bool:
        """Return whether a yes/no question is answered with yes, which the Enter key means too."""
        self.stderr.write(f"{visible(question)} [Y/n] ")
        self.stderr.flush()
        answer = self.stdin.readline()
        return bool(answer) and answer.strip().lower() in ("", "y", "yes")

    def secret(self, question: str) -> str:
        """Ask for a text that the terminal does not show. Call it only if ``interactive``."""
        shown = termios.tcgetattr(self.stdin)
        hidden = [*shown]
        hidden[3] &= ~termios.ECHO
        try:
            # Before the question: what was typed until then is discarded, an answer must not be.
            termios.tcsetattr(self.stdin, termios.TCSAFLUSH, hidden)
            self.stderr.write(visible(question))
            self.stderr.flush()
            return self.stdin.readline().rstrip("\n")
        finally:
            termios.tcsetattr(self.stdin, termios.TCSAFLUSH, shown)
            self.stderr.write("\n")

    def read(self) -> bytes:
        """Return all of standard input as bytes, whatever the locale."""
        binary = getattr(self.stdin, "buffer", None)
        return self.stdin.read().encode() if binary is None else bytes(binary.read())

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
    """Return text for one cell of a table, on one line and without control characters."""
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
    """The locations of an engine: ``engine.json``, logs and the state store.

    ``builds`` is where the user's downloads of PostgreSQL are, ``images`` where those of
    registries are unpacked, whatever the store.
    """

    state_dir: Path
    store: Path
    builds: Path
    images: Path

    @property
    def engine_file(self) -> Path:
        """The file in which clients find the running engine."""
        return self.state_dir / "engine.json"

    @property
    def log_file(self) -> Path:
        """The engine's log."""
        return self.state_dir / "logs" / "engine.log"


def places(state_dir: Path | None, environ: Mapping[str, str]) -> Places:
    """Return the places for ``--state-dir``, or the user's own.

    The default is ``$XDG_STATE_HOME/sqlrs``, else ``~/.local/state/sqlrs``.
    """
    if state_dir is None:
        state_dir = _xdg(environ, "XDG_STATE_HOME", "state") / "sqlrs"
    state_dir = state_dir.absolute()
    store = store_root(state_dir / "engine.json", environ)
    return Places(
        state_dir, store, builds_root(environ, state_dir), images_root(environ, state_dir)
    )


def store_root(engine_file: Path, environ: Mapping[str, str]) -> Path:
    """Return the root of the state store of the engine with this engine file.

    ``$SQLRS_STATE_STORE``, which the sqlrs CLI sets from its configuration; else the store of the
    last engine; else ``store`` beside ``engine.json``, where ``sqlrs init local`` puts it
    (``state-store``, the name that was used before, when there is one).
    """
    configured = environ.get("SQLRS_STATE_STORE")
    if configured:
        return Path(configured).absolute()
    last = last_store(engine_file)
    if last is not None:
        return last
    earlier = engine_file.parent / "state-store"
    return earlier if earlier.is_dir() else engine_file.parent / "store"


def builds_root(environ: Mapping[str, str], state_dir: Path) -> Path:
    """Return where the user's downloads of PostgreSQL are: ``$XDG_DATA_HOME/sqlrs/postgres``.

    For a user without a home they are in ``state_dir``.
    """
    try:
        return _xdg(environ, "XDG_DATA_HOME", "share") / "sqlrs" / "postgres"
    except InvalidArgument:
        return state_dir / "postgres"


def images_root(environ: Mapping[str, str], state_dir: Path) -> Path:
    """Return where images of registries are: ``$SQLRS_IMAGE_STORE``, else the user's own place.

    It is beside the downloads of ``builds_root``. The servers of an engine that is root run as
    another user, who has to reach it: then it is in ``/var/lib``.
    """
    configured = environ.get("SQLRS_IMAGE_STORE")
    if configured:
        return Path(configured).absolute()
    if os.geteuid() == 0:
        return IMAGES_OF_ROOT
    return builds_root(environ, state_dir).with_name("images")


def _xdg(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    """Return a directory of the XDG base directory specification, else ``~/.local/…``."""
    base = environ.get(variable) or ""
    return Path(base) if base.startswith("/") else _home(environ) / ".local" / fallback


def _home(environ: Mapping[str, str]) -> Path:
    """Return the user's home directory. Raises InvalidArgument if it is unknown."""
    home = environ.get("HOME", "")
    if home.startswith("/"):
        return Path(home)
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        raise InvalidArgument(
            "your home directory is unknown",
            "set HOME or XDG_STATE_HOME, or give --state-dir",
        ) from None


def add_state_dir(parser: argparse.ArgumentParser) -> None:
    """Add ``--state-dir``."""
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help="directory of engine.json and the logs (default: ~/.local/state/sqlrs)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def short(text: str | None) -> str:
    """Shorten an id, or the digest in an image id; return ``-`` if there is none."""
    if not text:
        return "-"
    name, separator, digest = text.partition("@sha256:")
    return f"{name}@{digest[:SHORT_ID]}" if separator else text[:SHORT_ID]


def clip(text: str | None, width: int) -> str:
    """Return text on one line of limited width; ``-`` if there is none."""
    line = " ".join((text or "-").split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def short_digest(digest: str | None) -> str:
    """Shorten ``sha256:<64 hex>``; return ``-`` if there is none."""
    name, separator, digits = (digest or "-").partition(":")
    return f"{name}{separator}{digits[:SHORT_ID]}"
