r"""What a step's input amounts to: its text with every file it reads in place of the name.

Content counts, names and places do not, so a moved checkout has the same states.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InvalidArgument
from .arguments import Input
from .files import FileRead, SourceFiles
from .script import INCLUDES, READS, UNKNOWN_VARIABLES, WRITES, Command, Scan, Text, scan
from .words import copy_source, value, words

_RELATIVE = ("ir", "include_relative")
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Content:
    """The digest of an input with all it reads, and the files that were read for it.

    ``volatile`` says why the digest does not tell all (None: it does): the script reads a
    file whose name only psql can work out. Such a step must not be reused.
    """

    digest: str
    files: tuple[FileRead, ...]
    volatile: str | None = None


def content_of(
    given: Input,
    stdin: str | None,
    *,
    files: SourceFiles,
    directory: Path | None,
    variables: Mapping[str, str],
) -> Content:
    """Work out the content of an input.

    ``directory`` is psql's working directory, None when there is none that means anything.
    Raises InvalidArgument for files that cannot be read and for recursive includes.
    """
    reading = _Reading(files, directory, dict(variables))
    if given.kind == "file":
        digest = reading.file(Path(given.text), "")
    else:
        text = given.text if given.kind == "command" else stdin or ""
        where = "-c" if given.kind == "command" else "standard input"
        # Lone surrogates can't come from JSON's bytes, but must not be a crash either.
        script = scan(text.encode("utf-8", "surrogatepass"))
        digest = reading.script(script, where, directory)
    return Content(digest, tuple(reading.read), reading.volatile)


class _Reading:
    """One walk through a script and its includes, in the order psql would take."""

    def __init__(
        self, files: SourceFiles, directory: Path | None, variables: dict[str, str]
    ) -> None:
        self._files = files
        self._directory = directory
        self._variables = variables
        self._chain: list[Path] = []
        self._writes = False
        self.read: list[FileRead] = []
        self.volatile: str | None = None

    def file(self, path: Path, where: str) -> str:
        if path in self._chain or len(self._chain) >= _DEEPEST:
            chain = " → ".join(str(each) for each in (*self._chain, path))
            raise InvalidArgument("recursive include", f"{where}: {chain}" if where else chain)
        parts, read = self._files.script(path)
        self.read.append(read)
        self._chain.append(path)
        try:
            return self.script(parts, str(path), path.parent)
        finally:
            self._chain.pop()

    def script(self, parts: Scan, name: str, beside: Path | None) -> str:
        r"""Return the digest of a script; ``beside`` is where ``\ir`` looks."""
        digest = hashlib.sha256()
        for part in parts.parts:
            if isinstance(part, Text):
                _add(digest, "text", part.digest)
            else:
                _add(digest, part.name, *self._command(part, f"{name}:{part.line}", beside))
        return digest.hexdigest()

    def _command(self, command: Command, where: str, beside: Path | None) -> Iterable[str]:
        """Return what a command adds to the digest, and take note of what it does."""
        if command.name in READS:
            return self._reference(command, where, beside)
        if command.name in WRITES:
            self._writes = True
        elif command.name in UNKNOWN_VARIABLES:
            self._variables.clear()
        elif command.name in ("set", "unset"):
            self._assign(words(command.arguments), remove=command.name == "unset")
        return (command.arguments,)

    def _assign(self, given: list[str], *, remove: bool) -> None:
        r"""Follow ``\set name word…``, whose words are joined."""
        if not given:
            return
        values = [value(word, self._variables) for word in given]
        name = values[0]
        if name is None:
            self._variables.clear()
            return
        known = [each for each in values[1:] if each is not None]
        if remove or len(known) < len(given) - 1:
            self._variables.pop(name, None)
        else:
            self._variables[name] = "".join(known)

    def _reference(self, command: Command, where: str, beside: Path | None) -> Iterable[str]:
        """Return a command's arguments with the content of the file it reads for its name."""
        name = self._file_name(command, where)
        if name in (None, "", "-"):
            return (command.arguments,)
        assert name is not None  # noqa: S101 - said above, in a way mypy does not follow
        path = self._path(name, command, where, beside)
        if not path.exists() and (self._writes or command.conditional):
            # It may not be read at all, or be written by the script itself.
            return (command.arguments, "absent")
        try:
            if command.name in INCLUDES:
                return (self.file(path, where),)
            content, read = self._files.digest(path)
        except InvalidArgument as error:
            if error.details and error.details.startswith(where):
                raise
            raise InvalidArgument(error.message, f"{where}: {error.details}") from error
        self.read.append(read)
        return (command.arguments.replace(name, "", 1), content)

    def _file_name(self, command: Command, where: str) -> str | None:
        if command.name == "copy":
            return copy_source(command.arguments)
        given = words(command.arguments)
        if not given:
            return None
        name = value(given[0], self._variables)
        if name is None:
            self.volatile = self.volatile or (
                f"{where}: only psql knows which file \\{command.name} {given[0]} reads"
            )
        return name

    def _path(self, name: str, command: Command, where: str, beside: Path | None) -> Path:
        if command.name == "copy" and name.endswith(";") and not Path(name).is_file():
            name = name[:-1]
        path = Path(name).expanduser() if name.startswith("~") else Path(name)
        if path.is_absolute():
            return path
        directory = beside if command.name in _RELATIVE else self._directory
        if directory is None:
            raise InvalidArgument(
                "relative path without a work_dir",
                f"{where}: give work_dir, or an absolute path in place of {name}",
            )
        return directory / path


def _add(digest: "hashlib._Hash", *fields: str) -> None:
    """Add fields to a digest so that no two sequences of fields look the same."""
    for field in fields:
        data = field.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(data))
        digest.update(data)
    digest.update(b";")
