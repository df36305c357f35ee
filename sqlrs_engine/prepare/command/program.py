"""The program of a command: where it is, and what identifies it."""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from sqlrs_engine.errors import ProgramUnavailable
from sqlrs_engine.prepare.file_reads import FileMemory, FileRead

_SHEBANG = b"#!"
_REMEMBERED = 256
_LONGEST_SCRIPT = 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Program:
    """A program that was found: its path as found, and the files that it is known by."""

    path: Path
    read: FileRead
    digest: str


class Programs:
    """Finds programs and digests them; remembers the digests. Thread-safe."""

    def __init__(self) -> None:
        self._digests = FileMemory(_content, _REMEMBERED)

    def find(self, name: str, path: str, work_dir: Path) -> Program:
        """Return the program that a shell in ``work_dir`` would run with this PATH.

        Raises ProgramUnavailable, and InvalidArgument when it cannot be read.
        """
        found = resolve(name, path, work_dir)
        content, read = self._digests.read(found)
        return Program(found, read, _digest(content, found, work_dir))


def resolve(name: str, path: str, work_dir: Path) -> Path:
    """Return where a program is. Raises ProgramUnavailable."""
    if "/" in name:
        candidates = [work_dir / name]
        advice = "name a program below work_dir, by an absolute path or on the PATH"
    else:
        candidates = [work_dir / directory / name for directory in path.split(os.pathsep)]
        advice = f"install it, or add its directory to PATH, which is {path}"
    refused = ""
    for candidate in candidates:
        try:
            mode = candidate.stat().st_mode
        except (OSError, ValueError):
            continue
        if not stat.S_ISREG(mode):
            continue
        if os.access(candidate, os.X_OK):
            return candidate
        refused = f"{candidate} is not executable: chmod +x it, or run its interpreter; "
    raise ProgramUnavailable(
        "the program of the command is not on this machine", f"{name}: {refused}{advice}"
    )


_Content = bytes | str


def _content(file: BufferedReader, read: FileRead) -> _Content:
    """Return a script's text, or the digest of another program."""
    if file.peek(2)[:2] == _SHEBANG and os.fstat(file.fileno()).st_size <= _LONGEST_SCRIPT:
        return file.read()
    return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(content: _Content, path: Path, work_dir: Path) -> str:
    """Return the digest of a program, equal for equal scripts in different places.

    The scripts of a virtual environment and of npm name its directory.
    """
    if isinstance(content, str):
        return content
    for place in _places(path.parent, work_dir):
        content = content.replace(os.fsencode(place), b".")
    return hashlib.sha256(content).hexdigest()


def _places(*directories: Path) -> Iterator[Path]:
    for directory in directories:
        for place in dict.fromkeys((directory, directory.resolve())):
            if place != place.parent:  # a script may name the root for many reasons
                yield place
