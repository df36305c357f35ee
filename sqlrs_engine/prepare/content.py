r"""What a step's input amounts to: its text with every file it reads in place of the name.

Content counts, names and places do not, so a moved checkout has the same states.
"""

import hashlib
import os
import pwd
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..errors import InvalidArgument
from .arguments import Input
from .files import FileRead
from .script import (
    DIRECTORY,
    INCLUDES,
    READS,
    UNKNOWN_VARIABLES,
    VARIABLES,
    WRITES,
    Command,
    Scan,
    Text,
    scan,
)
from .words import copy_source, printable, value, words

_RELATIVE = ("ir", "include_relative")
_DEEPEST = 100
# psql runs the commands that a variable holds, wherever the variable is used.
_HIDDEN = re.compile(r"\\(?:i|ir|include|include_relative|copy|lo_import)\b")


class Files(Protocol):
    """The files that scripts read."""

    def script(self, path: Path) -> tuple[Scan, FileRead]:
        """Return a script taken apart. Raises InvalidArgument when it cannot be read."""

    def digest(self, path: Path) -> tuple[str, FileRead]:
        """Return the SHA-256 of a data file. Raises InvalidArgument when it can't be read."""

    def exists(self, path: Path) -> bool:
        """Tell whether there is anything at a path."""

    def admit(self, name: str) -> None:
        """Raise InvalidArgument for a name that must not be in a script."""


@dataclass(frozen=True, slots=True)
class Content:
    """The digest of an input with all it reads, and the files that were read for it.

    ``text`` is the digest of a command's or standard input's own text, ``sources`` those of
    the files' own contents, by path: which of them changed is asked later.
    ``volatile`` says why the digest does not tell all (None: it does): the script reads a
    file whose name only psql can work out. Such a step must not be reused.
    """

    digest: str
    files: tuple[FileRead, ...]
    volatile: str | None = None
    text: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


def content_of(
    given: Input,
    stdin: str | None,
    *,
    files: Files,
    directory: Path | None,
    variables: Mapping[str, str],
) -> Content:
    """Work out the content of an input.

    ``directory`` is psql's working directory, None when there is none that means anything.
    Raises InvalidArgument for files that cannot be read and for recursive includes.
    """
    reading = _Reading(files, directory)
    for name, text in variables.items():
        reading.assign(name, text, "-v")
    own = None
    if given.kind == "file":
        digest = reading.file(Path(given.text), "")
    else:
        text = given.text if given.kind == "command" else stdin or ""
        where = "-c" if given.kind == "command" else "standard input"
        # Lone surrogates can't come from JSON's bytes, but must not be a crash either.
        script = scan(text.encode("utf-8", "surrogatepass"))
        digest = reading.script(script, where, directory)
        own = _own_digest(script)
    return Content(digest, tuple(reading.read), reading.volatile, own, reading.sources)


class _Reading:
    """One walk through a script and its includes, in the order psql would take."""

    def __init__(self, files: Files, directory: Path | None) -> None:
        self._files = files
        self._directory = directory
        self._directory_known = True
        self._variables: dict[str, str] = {}
        self._chain: list[Path] = []
        self._writes = False
        self._conditional = False  # whether the file being read may not be read at all
        self.read: list[FileRead] = []
        self.sources: dict[str, str] = {}
        self.volatile: str | None = None

    def assign(self, name: str, text: str | None, where: str) -> None:
        """Take note of a variable's value, None when it is not known."""
        if text is None:
            self._variables.pop(name, None)
            return
        self._variables[name] = text
        if _HIDDEN.search(text):
            self._doubt(f"{where}: the variable {name} holds a command")

    def file(self, path: Path, where: str) -> str:
        if path in self._chain or len(self._chain) >= _DEEPEST:
            chain = printable(" → ".join(str(each) for each in (*self._chain, path)))
            raise InvalidArgument("recursive include", f"{where}: {chain}" if where else chain)
        parts, read = self._files.script(path)
        self._took(read, _own_digest(parts))
        self._chain.append(path)
        try:
            return self.script(parts, printable(str(path)), path.parent)
        finally:
            self._chain.pop()

    def script(self, parts: Scan, name: str, beside: Path | None) -> str:
        r"""Return the digest of a script; ``beside`` is where ``\ir`` looks."""
        digest = hashlib.sha256()
        outer = self._conditional
        for part in parts.parts:
            if isinstance(part, Text):
                _add(digest, "text", part.digest)
                continue
            self._conditional = outer or part.conditional
            _add(digest, part.name, *self._command(part, f"{name}:{part.line}", beside))
            self._conditional = outer
        return digest.hexdigest()

    def _command(self, command: Command, where: str, beside: Path | None) -> Iterable[str]:
        """Return what a command adds to the digest, and take note of what it does."""
        if command.name in INCLUDES:
            return self._include(command, where, beside)
        if command.name in READS:
            return self._data(command, where)
        if command.name in WRITES:
            self._writes = True
        elif command.name in UNKNOWN_VARIABLES:
            self._variables.clear()
        elif command.name in VARIABLES:
            self._set(words(command.arguments), where, remove=command.name == "unset")
        elif command.name in DIRECTORY:
            with _located(where):
                self._change_directory(words(command.arguments))
        return (command.arguments,)

    def _set(self, given: list[str], where: str, *, remove: bool) -> None:
        r"""Follow ``\set name word…``, whose words are joined."""
        if not given:
            return
        name, *values = [value(word, self._variables) for word in given]
        if name is None:
            self._variables.clear()
            return
        known = [each for each in values if each is not None]
        unknown = remove or self._conditional or len(known) < len(values)
        self.assign(name, None if unknown else "".join(known), where)

    def _change_directory(self, given: list[str]) -> None:
        name = value(given[0], self._variables) if given else _home()
        if name is None or self._conditional:
            self._directory_known = False
            return
        self._files.admit(name if given else "~")
        if self._directory is not None or name.startswith("/"):
            self._directory = (self._directory or Path("/")) / name
            self._directory_known |= name.startswith("/")

    def _include(self, command: Command, where: str, beside: Path | None) -> Iterable[str]:
        """Return the content of an included script."""
        path, _ = self._first(command, where, beside)
        if path is None:
            return (command.arguments,)
        if self._may_be_absent(path, where):
            return (command.arguments, "absent")
        with _located(where):
            return (self.file(path, where),)

    def _data(self, command: Command, where: str) -> Iterable[str]:
        """Return a command's arguments with the content of the file for its name."""
        if command.name == "copy":
            source = copy_source(command.arguments)
            name, rest = (source.file, source.rest) if source else (None, ("", ""))
            path = self._path(name, command, where, self._directory) if name else None
        else:
            path, after = self._first(command, where, self._directory)
            rest = ("", after)
        if path is None:
            return (command.arguments,)
        if self._may_be_absent(path, where):
            return (command.arguments, "absent")
        with _located(where):
            content, read = self._files.digest(path)
        self._took(read, content)
        return (*rest, content)

    def _first(self, command: Command, where: str, beside: Path | None) -> tuple[Path | None, str]:
        """Return the file that a command's first word names, if any, and what follows it."""
        given = words(command.arguments)
        if not given:
            return None, ""
        name = value(given[0], self._variables)
        if name is None:
            self._doubt(f"{where}: only psql knows which file \\{command.name} {given[0]} reads")
        if name in (None, "", "-"):
            return None, ""
        assert name is not None  # noqa: S101 - said above, in a way mypy does not follow
        rest = command.arguments.partition(given[0])[2]
        return self._path(name, command, where, beside), rest

    def _path(self, name: str, command: Command, where: str, beside: Path | None) -> Path | None:
        with _located(where):
            self._files.admit(name)
        path = Path(_expand_tilde(name))
        if path.is_absolute():
            return path
        directory = beside if command.name in _RELATIVE else self._directory
        if command.name not in _RELATIVE and not self._directory_known:
            self._doubt(f"{where}: only psql knows in which directory {name} is")
            return None
        if directory is None:
            raise InvalidArgument(
                "relative path without a work_dir",
                f"{where}: give work_dir, or an absolute path in place of {printable(name)}",
            )
        return directory / path

    def _may_be_absent(self, path: Path, where: str) -> bool:
        """Tell whether a file is missing and may be: not reached, or made by the script."""
        if not (self._writes or self._conditional) or self._files.exists(path):
            return False
        if self._writes:
            self._doubt(f"{where}: {path} is not there yet")
        return True

    def _took(self, read: FileRead, digest: str) -> None:
        self.read.append(read)
        self.sources[printable(str(read.path))] = digest

    def _doubt(self, reason: str) -> None:
        self.volatile = self.volatile or printable(reason)


@contextmanager
def _located(where: str) -> Iterator[None]:
    """Say in errors about a file where it is read."""
    try:
        yield
    except InvalidArgument as error:
        details = printable(error.details or "")
        raise InvalidArgument(
            error.message, details if details.startswith(where) else f"{where}: {details}"
        ) from error


def _expand_tilde(name: str) -> str:
    """Expand a leading ``~`` as psql does, whose HOME is that of the engine's user."""
    if not name.startswith("~"):
        return name
    user, slash, rest = name[1:].partition("/")
    if not user:
        return f"{_home()}{slash}{rest}"
    try:
        return f"{pwd.getpwnam(user).pw_dir}{slash}{rest}"
    except (KeyError, ValueError):  # nobody, or nothing that could be a name
        return name


def _home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"


def _own_digest(script: Scan) -> str:
    """Return the digest of a script without what it includes."""
    digest = hashlib.sha256()
    for part in script.parts:
        if isinstance(part, Text):
            _add(digest, "text", part.digest)
        else:
            _add(digest, part.name, part.arguments)
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", *fields: str) -> None:
    """Add fields to a digest so that no two sequences of fields look the same."""
    for each in fields:
        data = each.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(data))
        digest.update(data)
    digest.update(b";")
