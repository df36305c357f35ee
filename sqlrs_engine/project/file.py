"""The project file: where it is, and its TOML."""

import os
import pwd
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlrs_engine.errors import InvalidArgument, NotFound

from .problems import Problem, invalid

FILE_NAME = "sqlrs.toml"


def find(start: Path, *, uid: int, home: Path | None) -> Path:
    """Return the project file of a directory: its own, or that of the nearest directory above.

    The search ends at the root of a Git repository, at the home directory and at ``/``. A file
    above ``start`` counts only if it belongs to the user, to root, or to the owner of ``start``:
    its stages run programs. Raises NotFound; InvalidArgument for a file of anyone else.
    """
    searched = start
    for searched in _upwards(start, home):
        file = searched / FILE_NAME
        if os.path.isfile(file):  # noqa: PTH113 - Path.is_file raises in closed directories
            if searched != start:
                _refuse_of_others(file, {uid, 0, start.stat().st_uid})
            return file
    where = f"{start}" if searched == start else f"{start} and the directories up to {searched}"
    raise NotFound(
        f"there is no {FILE_NAME} here: make one, or name it with --file",
        f"searched {where}; docs/project-file.md describes the file",
    )


def parse(path: Path) -> dict[str, Any]:
    """Return the content of a project file. Raises NotFound, ProjectFileInvalid and OSError."""
    try:
        text = path.read_bytes().decode("utf-8-sig")  # some editors write the mark of UTF-8
        return tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound("the project file does not exist: correct --file", str(path)) from None
    except IsADirectoryError:
        raise InvalidArgument("--file names a directory: name the file in it", str(path)) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise invalid(path, [Problem((), f"line {line} is not UTF-8")]) from error
    except RecursionError as error:
        raise invalid(path, [Problem((), "its lists or tables are nested too deep")]) from error
    except ValueError as error:  # tomllib.TOMLDecodeError, and numbers that are too long
        raise invalid(path, [Problem((), f"not TOML: {error}")]) from error


def _upwards(start: Path, home: Path | None) -> Iterator[Path]:
    for directory in (start, *start.parents):
        yield directory
        if directory == home or os.path.lexists(directory / ".git"):
            return


def _refuse_of_others(file: Path, trusted: set[int]) -> None:
    owner = file.stat().st_uid
    if owner not in trusted:
        raise InvalidArgument(
            "the project file belongs to another user: name it with --file if you trust it",
            f"{file} belongs to {_user_name(owner)}",
        )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
