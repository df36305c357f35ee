"""The arguments of Liquibase in a prepare: those that are allowed, and the paths in them.

To Liquibase, ``--changelog-file``, ``--changelogFile`` and ``--changeLogFile`` are the same, so
names are compared without hyphens and case.
"""

import os.path
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlrs_engine.errors import InvalidArgument

COMMANDS = ("update", "update-count", "update-to-tag")

_CONNECTION = frozenset({"url", "username", "password", "driverpropertiesfile"})
_RUNTIME = frozenset({"classpath", "driver", "databaseclass", "propertyproviderclass"})
CHANGELOG, DEFAULTS, SEARCH = "changelogfile", "defaultsfile", "searchpath"
_PATHS = (CHANGELOG, DEFAULTS, SEARCH)


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class LiquibaseArguments:
    """Liquibase's own command line, with the paths in it resolved.

    The engine adds the connection to ``words``. ``directory`` is Liquibase's working directory.
    ``defaults_file`` is None when the arguments name none.
    """

    words: tuple[str, ...]
    command: str
    directory: Path
    defaults_file: Path | None

    @property
    def normalized(self) -> str:
        """The arguments as users see them."""
        return " ".join(self.words)

    def counting(self, count: int) -> list[str]:
        """Return the arguments of ``update-count``, for the same changelog and settings."""
        words: list[str] = []
        remaining = iter(self.words)
        for word in remaining:
            if _flag(word.partition("=")[0]) in ("count", "tag"):
                if "=" not in word:
                    next(remaining, None)
            elif _plain(word) == _plain(self.command):
                words += ["update-count", f"--count={count}"]
            else:
                words.append(word)
        return words

    @classmethod
    def parse(
        cls,
        args: Sequence[str],
        work_dir: str | None,
        exists: Callable[[Path], bool] = _exists,
    ) -> "LiquibaseArguments":
        """Parse the arguments; relative paths are relative to ``work_dir``.

        ``exists`` returns whether there is a file or a directory. Raises InvalidArgument for
        arguments that are not allowed and paths that do not exist.
        """
        given = [word for word in args if word and word != "--"]
        if any("\0" in word for word in given):
            raise InvalidArgument("arguments must not contain a NUL character")
        command = _command(given)
        places = _Places(work_dir, given, exists)
        # The search path and the defaults file are Liquibase's rather than the command's, and
        # have to come before it.
        first: list[str] = []
        words: list[str] = []
        remaining = iter(given)
        for word in remaining:
            name, separator, value = word.partition("=")
            flag = _flag(name)
            if word.startswith("@"):
                raise InvalidArgument("argument files are not allowed: give their arguments", word)
            if flag in _CONNECTION:
                raise InvalidArgument("connection flags are not allowed", name)
            if flag in _RUNTIME:
                raise InvalidArgument("runtime flags are not allowed", name)
            if flag not in _PATHS:
                words.append(word)
                continue
            if not separator:
                value = next(remaining, "")
                if not value or value.startswith("--"):
                    raise InvalidArgument("missing value for flag", name)
            resolved = f"{_SPELLED.get(flag, name)}={places.resolve(flag, value)}"
            (words if flag == CHANGELOG else first).append(resolved)
        return cls((*first, *words), command, places.directory, places.defaults_file)


# Of the paths only the search path needs one spelling: older versions know no other.
_SPELLED = {SEARCH: "--searchPath"}


class _Places:
    """Resolves paths: the working directory and the search path."""

    def __init__(
        self, work_dir: str | None, words: Sequence[str], exists: Callable[[Path], bool]
    ) -> None:
        self._exists = exists
        self._work_dir = Path(work_dir) if work_dir else None
        self.defaults_file: Path | None = None
        lists = [value for flag, value in flagged_paths(words) if flag == SEARCH]
        self._searched = [self._entry(each) for text in lists for each in text.split(",")]
        changelogs = [Path(value) for flag, value in flagged_paths(words) if flag == CHANGELOG]
        absolute = next((path.parent for path in changelogs if path.is_absolute()), None)
        self.directory = self._work_dir or absolute or Path("/")

    def resolve(self, flag: str, value: str) -> str:
        """Return a path, or a list of them, as Liquibase gets it."""
        if flag == SEARCH:
            return ",".join(self._searched)
        if not value.strip():
            raise InvalidArgument("path is empty")
        if is_url(value):
            return value
        if flag == CHANGELOG:
            return self._changelog(value)
        found = self._below_work_dir(value)
        if not self._exists(found):
            raise InvalidArgument("path does not exist", value)
        self.defaults_file = found
        return str(found)

    def _changelog(self, value: str) -> str:
        """Return the path of a changelog as seen from where Liquibase searches.

        Liquibase stores it in the database, and opens nothing outside its search path.
        """
        path = Path(os.path.normpath(value))
        roots = [Path(each) for each in self._searched if not is_url(each)]
        if not path.is_absolute():
            if any(self._exists(root / path) for root in roots or [self._below_work_dir("")]):
                return value
            raise InvalidArgument("path does not exist", value)
        if not self._exists(path):
            raise InvalidArgument("path does not exist", value)
        for root in roots or [self.directory]:
            if path.is_relative_to(root):
                return str(path.relative_to(root))
        raise InvalidArgument(
            "the changelog is outside the search path",
            f"{value}: Liquibase reads only files in {', '.join(map(str, roots))}"
            if roots
            else f"{value}: name its directory with --search-path, or make it the work_dir",
        )

    def _entry(self, value: str) -> str:
        if not value.strip():
            raise InvalidArgument("searchPath is empty")
        if is_url(value):
            return value
        path = self._below_work_dir(value.strip())
        if not self._exists(path):
            raise InvalidArgument("searchPath path does not exist", value)
        return str(path)

    def _below_work_dir(self, value: str) -> Path:
        if self._work_dir is None and not Path(value).is_absolute():
            raise InvalidArgument(
                "relative path without a work_dir: give a work_dir, or an absolute path", value
            )
        return Path(os.path.normpath((self._work_dir or Path("/")) / value))


def _command(words: Sequence[str]) -> str:
    """Return the command in the documentation's spelling. Raises InvalidArgument."""
    bare = [
        (word, previous)
        for previous, word in zip(["", *words], words, strict=False)
        if not word.startswith("-")
    ]
    # What follows a flag is its value, unless there is nothing else that could be the command.
    free = [word for word, previous in bare if not previous.startswith("--") or "=" in previous]
    for word in free[:1] or [word for word, _ in bare]:
        for command in COMMANDS:
            if _plain(word) == _plain(command):
                return command
    if free:
        raise InvalidArgument(
            "unsupported lb command", f"{free[0]}: use one of {', '.join(COMMANDS)}"
        )
    raise InvalidArgument("lb command is required", f"use one of {', '.join(COMMANDS)}")


def is_path_flag(name: str) -> bool:
    """Return whether a flag's value is a path, or a list of them."""
    return _flag(name) in _PATHS


def flagged_paths(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the flags that name paths, with their values."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, separator, value = word.partition("=")
        if _flag(name) in _PATHS:
            yield _flag(name), value if separator else following


def _flag(name: str) -> str:
    """Return the plain name of a flag, empty when it is none; ``--liquibase-x`` is ``--x``."""
    return _plain(name).removeprefix("liquibase") if name.startswith("--") else ""


def _plain(name: str) -> str:
    return re.sub(r"[-_]", "", name).lower()


def is_url(value: str) -> bool:
    """Return whether a path is a URL or on the class path, so none of the filesystem's."""
    return "://" in value or value.startswith("classpath:")
