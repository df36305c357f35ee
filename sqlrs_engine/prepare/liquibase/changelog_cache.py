"""The cache of changelogs: each is valid while nothing that Liquibase looked at has changed.

It is kept in files, so that the first prepare after a restart is as quick as the second. An entry
lists every file that Liquibase read or looked for, with what it found.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlrs_engine.errors import Conflict, InvalidArgument
from sqlrs_engine.prepare.file_reads import FileRead
from sqlrs_engine.store.records import Json

from .changelog import Changelog, Changeset, Lookup

_KEPT = 256
_CLOCK_TICK_SECONDS = 0.1
_FORMAT = 4

Digest = Callable[[Path], tuple[str, FileRead]]

_log = logging.getLogger(__name__)


class ChangelogCache:
    """Changelogs by the command that read them; thread-safe, as files are replaced whole."""

    def __init__(self, directory: Path, digest: Digest) -> None:
        """``digest`` returns the SHA-256 of a file, or raises InvalidArgument."""
        self._directory = directory
        self._digest = digest

    def get(self, key: Sequence[Any]) -> tuple[Changelog, tuple[FileRead, ...]] | None:
        """Return a changelog that has not changed, and its files; None when there is none."""
        path = self._path(key)
        try:
            entry = json.loads(path.read_text())
            changelog = _changelog(entry["changelog"])
            defaults = entry["defaults"]
            if entry["seen"] != _seen(changelog) or defaults != self.digests(defaults):
                return None
            files = self.check(changelog)
            os.utime(path)
        except (OSError, ValueError, KeyError, TypeError, Conflict, InvalidArgument):
            # Missing, damaged or outdated: Liquibase reads the changelog again.
            return None
        return changelog, files

    def put(self, key: Sequence[Any], changelog: Changelog, defaults: Json, since: float) -> None:
        """Keep a changelog just read; ``defaults`` are the ``digests`` of the defaults files.

        ``since`` is when reading began (seconds since the epoch). A changelog of which something
        has changed from then on is not kept.
        """
        if changelog.archived or not _settled(changelog, since):
            return
        entry = {
            "changelog": _json(changelog),
            "seen": _seen(changelog),
            "defaults": defaults,
        }
        path = self._path(key)
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            draft = path.with_suffix(f".{os.getpid()}.{id(entry)}.new")
            draft.write_text(json.dumps(entry))
            draft.replace(path)
            self._remove_oldest()
        except OSError as error:
            _log.warning("cannot keep a changelog for the next prepare: %s", error)

    def check(self, changelog: Changelog) -> tuple[FileRead, ...]:
        """Return the files of a changelog as they are now.

        Raises Conflict when one differs from what Liquibase has read, InvalidArgument when one
        cannot be read.
        """
        reads = []
        for path, digest in changelog.files.items():
            found, read = self._digest(path)
            if found != digest:
                raise Conflict("a file changed while the job read it: prepare again", str(path))
            reads.append(read)
        return tuple(reads)

    def digests(self, paths: Iterable[Path | str]) -> Json:
        """Return the digests of files by their paths, None for one that cannot be read."""
        digests: Json = {}
        for path in paths:
            try:
                digests[str(path)] = self._digest(Path(path))[0]
            except InvalidArgument:
                digests[str(path)] = None
        return digests

    def _path(self, key: Sequence[Any]) -> Path:
        name = hashlib.sha256(json.dumps([_FORMAT, *key], sort_keys=True).encode()).hexdigest()
        return self._directory / f"{name}.json"

    def _remove_oldest(self) -> None:
        entries = sorted(self._directory.iterdir(), key=lambda each: each.stat().st_mtime)
        for entry in entries[: max(0, len(entries) - _KEPT)]:
            entry.unlink(missing_ok=True)


def _seen(changelog: Changelog) -> list[list[str]]:
    """Return the files that exist now where Liquibase looked for some."""
    looked = [
        sorted(
            str(path) for place in _places(changelog, lookup) for path in _paths_at(place, lookup)
        )
        for lookup in changelog.lookups
    ]
    return looked + [_names(directory) for directory in changelog.listed]


def _names(directory: Path) -> list[str]:
    try:
        return sorted(each.name for each in directory.iterdir())
    except (NotADirectoryError, FileNotFoundError):
        return []


def _settled(changelog: Changelog, since: float) -> bool:
    """Return whether the files that Liquibase found have been the only ones since then."""
    if any(_changed(str(directory), since) for directory in changelog.listed if directory.is_dir()):
        return False
    for lookup in changelog.lookups:
        places = _places(changelog, lookup)
        if not lookup.directory:
            if set(lookup.found) != {path for place in places for path in _paths_at(place, lookup)}:
                return False
        elif any(
            _changed(directory, since) for place in places for directory, *_ in os.walk(place)
        ):
            return False
    return True


def _changed(directory: str, since: float) -> bool:
    try:
        return Path(directory).stat().st_mtime >= since - _CLOCK_TICK_SECONDS
    except OSError:
        return True


def _places(changelog: Changelog, lookup: Lookup) -> list[Path]:
    """Return the paths to look up: below each location, unless it begins with one."""
    for location in changelog.locations:
        if Path(lookup.path).is_relative_to(location):
            return [Path(lookup.path)]
    return [
        Path(os.path.normpath(location / lookup.path.lstrip("/")))
        for location in changelog.locations
    ]


def _paths_at(place: Path, lookup: Lookup) -> Iterator[Path]:
    """Yield the files that a look-up finds in one place."""
    if not lookup.directory:
        yield from [place] * place.exists()
        return
    for directory, names in _walk(place):
        yield from (Path(directory, name) for name in names)


def _walk(place: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the directories below a place and their files, following links as Liquibase does."""
    seen = set()
    for directory, below, names in os.walk(place, followlinks=True):
        real = os.path.realpath(directory)
        if real in seen:
            below.clear()  # a link that leads back
        seen.add(real)
        yield directory, names


def _json(changelog: Changelog) -> Json:
    fields = asdict(changelog)
    fields["files"] = {str(path): digest for path, digest in changelog.files.items()}
    fields["listed"] = list(map(str, changelog.listed))
    fields["locations"] = list(map(str, changelog.locations))
    fields["lookups"] = [
        each | {"found": list(map(str, each["found"]))} for each in fields["lookups"]
    ]
    return fields


def _changelog(fields: Json) -> Changelog:
    return Changelog(
        common=fields["common"],
        preconditions=fields["preconditions"],
        parameters=fields["parameters"],
        archived=fields["archived"],
        changesets=tuple(Changeset(**each) for each in fields["changesets"]),
        files={Path(path): digest for path, digest in fields["files"].items()},
        locations=tuple(map(Path, fields["locations"])),
        listed=tuple(map(Path, fields["listed"])),
        lookups=tuple(
            Lookup(
                path=each["path"],
                directory=each["directory"],
                found=tuple(map(Path, each["found"])),
            )
            for each in fields["lookups"]
        ),
    )
