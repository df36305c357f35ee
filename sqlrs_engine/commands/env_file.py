"""Environment files (``.env``): some variables set, all other lines kept."""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sqlrs_engine.errors import InvalidArgument

_ASSIGNMENT = re.compile(
    rb"(?P<before>[ \t]*(?:export[ \t]+)?)(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*="
)
_GIT_SECONDS = 10.0


def check(path: Path) -> None:
    """Raise InvalidArgument if no file can be written there."""
    directory = path.parent
    if not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
        raise InvalidArgument("the file cannot be written: choose another place", str(path))
    if path.is_dir():
        raise InvalidArgument("this is a directory: name a file in it", str(path))


def assignments(variables: Mapping[str, str], prefix: str = "") -> list[str]:
    """Return a line per variable, quoted for ``sh`` where it has to be."""
    return [f"{prefix}{name}={shlex.quote(value)}" for name, value in variables.items()]


def updated(content: bytes, variables: Mapping[str, str]) -> bytes:
    """Return the content of an environment file with these variables set.

    A variable that the file sets keeps its line and its ``export``, others are added at the end.
    """
    missing = dict(variables)
    lines = []
    for line in content.splitlines(keepends=True):
        found = _ASSIGNMENT.match(line)
        name = found["name"].decode() if found else ""
        if found is None or name not in variables:
            lines.append(line)
        elif name in missing:  # otherwise it has its line already
            ending = line[len(line.rstrip(b"\r\n")) :]
            [assignment] = assignments({name: missing.pop(name)})
            lines.append(found["before"] + assignment.encode() + ending)
    if lines and not lines[-1].endswith(b"\n"):
        lines[-1] += b"\n"
    added = "".join(f"{line}\n" for line in assignments(missing))
    return b"".join(lines) + added.encode()


def write(path: Path, variables: Mapping[str, str]) -> None:
    """Set the variables in a file, which only its owner can read then; all of them, or none.

    A symbolic link stays one. Raises OSError.
    """
    path = path.resolve()
    before = path.stat() if path.exists() else None
    content = updated(path.read_bytes() if before else b"", variables)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:  # mkstemp has made it with the mode 0600
            file.write(content)
            if before is not None and os.geteuid() == 0:
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise


def tracked_by_git(path: Path) -> bool:
    """Return whether Git tracks a file, so that a commit could publish its password."""
    git = shutil.which("git")
    if git is None:
        return False
    command = [git, "-C", str(path.parent), "ls-files", "--error-unmatch", "--", path.name]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
