"""Changelogs of a client on another machine: which of its files Liquibase may read.

Liquibase reads files of this machine only, so the files of a changelog are found in advance, by the
names in them: every text in a place where a format puts the name of a file, if there is such a
file. A file more than Liquibase reads does no harm. Names that only Liquibase can work out (with
``${…}``) are left out, and Liquibase reports those files as missing.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.stages import LiquibaseStage
from sqlrs_engine.sources import Blobs, Manifest, Missing, paths

from .arguments import CHANGELOG, DEFAULTS, SEARCH, flagged_paths, is_url

_DEFAULTS_FILES = ("liquibase.properties", "liquibase.local.properties")
_LARGEST_SCANNED = 16 * 1024 * 1024
_FILES = 20_000

# file="a.xml" · file: a.xml · "file": "a.xml" · path='dir' · -- and of loadData's columns
_NAMES = r"(?:file|path|valueClobFile|valueBlobFile)"
_REFERENCES = re.compile(
    rf"""(?<![\w-])["']?{_NAMES}["']?\s*[:=]\s*(?:"([^"\r\n]+)"|'([^'\r\n]+)'|([^\s"'#,{{}}][^\r\n#,{{}}]*))"""
)
_PROPERTY = re.compile(
    r"^[ \t]*(?:liquibase\.command\.)?change-?log-?file[ \t]*[:=][ \t]*(\S+)", re.I | re.M
)
_SCANNED = (".xml", ".yaml", ".yml", ".json")
_PROPERTIES = ".properties"
_PARTS = (*_SCANNED, ".sql")
_PLACES = 200


class RemoteChangelog:
    """Finds the files of one request in its manifest and among the uploaded contents."""

    def __init__(self, manifest: Manifest, blobs: Blobs) -> None:
        self._manifest = manifest
        self._blobs = blobs
        self._missing = Missing()
        self._changelogs: set[str] = set()
        self._files: dict[str, str] = {}
        self._listed: set[str] = set()

    def files(self, stage: LiquibaseStage) -> Mapping[str, str]:
        """Return the files that Liquibase may read: digests by key.

        Raises InvalidArgument for paths outside the client's workspace, SourceInputsMissing.
        """
        work_dir = client_work_dir(stage, self._manifest)
        named = list(flagged_paths(stage.liquibase_args))
        searched = [value for flag, text in named if flag == SEARCH for value in text.split(",")]
        roots = [self._key(each, work_dir) for each in searched if not is_url(each)]
        absolute = [v for flag, v in named if flag == CHANGELOG and paths.is_absolute(v)]
        roots = roots or [work_dir or paths.parent(self._key(absolute[0], None))]
        for flag, value in named:
            if is_url(value):
                continue
            if flag == CHANGELOG and not paths.is_absolute(value):
                self._changelog(value, roots)
            elif flag in (CHANGELOG, DEFAULTS):
                key = self._key(value, work_dir)
                self._changelogs |= {key} if flag == CHANGELOG else set()
                self._want(key, roots)
        for name in _DEFAULTS_FILES if work_dir is not None else ():
            self._try(_join(work_dir or paths.ROOT, name), roots)
        if self._missing:
            self._foresee(roots)
            raise self._missing.error()
        return self._files

    def _key(self, value: str, work_dir: str | None) -> str:
        """Return the key of a path in the arguments. Raises InvalidArgument."""
        value = value.strip()
        if paths.is_absolute(value):
            return self._manifest.key_of(value)
        if work_dir is None:
            raise InvalidArgument(
                "relative path without a work_dir: give a work_dir, or an absolute path", value
            )
        return _inside(posixpath.join(work_dir, value.replace("\\", "/")), value)

    def _changelog(self, value: str, roots: list[str]) -> None:
        """Require the changelog, which is below one of the roots."""
        candidates = [_inside(posixpath.join(root, value), value) for root in roots]
        if len(candidates) == 1:
            self._changelogs.add(candidates[0])
            self._want(candidates[0], roots)
            return
        for key in candidates:
            self._try(key, roots)

    def _try(self, key: str, roots: list[str]) -> None:
        """Require a file, or all files below a directory, if it exists."""
        known = self._manifest.holds(key)
        if isinstance(known, str):
            self._missing.listing_of(known)
        elif known and self._is_directory(key):
            self._want_all(key, roots)
        elif known:
            self._want(key, roots)

    def _want_all(self, directory: str, roots: list[str]) -> None:
        if directory in self._listed:
            return
        self._listed.add(directory)
        names = self._manifest.directories.get(directory)
        if names is None:
            self._missing.listing_of(directory)
            return
        for name in sorted(names):
            self._try(_join(directory, name), roots)

    def _want(self, key: str, roots: list[str]) -> None:
        """Require a file and those that it names; ask for all of it that is missing."""
        if key in self._files:
            return
        if len(self._files) >= _FILES:
            raise InvalidArgument("the changelog names too many files", f"name at most {_FILES}")
        digest = self._files[key] = self._manifest.files.get(key, "")
        if not digest:
            self._missing.hash_of(key)
        elif not self._blobs.use(digest):
            self._missing.blob(key, digest)
        else:
            for reference in self._references(key, digest):
                if key.endswith(_PROPERTIES):
                    self._changelog(reference, roots)
                    continue
                for base in (paths.parent(key), *roots):
                    target = posixpath.normpath(posixpath.join(base, reference))
                    if target != paths.ROOT and target.split("/")[0] not in ("..", ""):
                        self._try(target, roots)

    def _foresee(self, roots: list[str]) -> None:
        """Ask for what later rounds will need, around the changelog: clients give up after eight.

        That is the listings of directories, and the hashes of files that may be parts of
        changelogs; contents are asked for when something names them.
        """
        homes = {paths.parent(key) for key in self._changelogs}
        around = homes | {paths.parent(home) for home in homes} | set(roots)
        places = sorted(around - {paths.ROOT}) or [paths.ROOT]
        for place in places:
            if place not in self._manifest.directories:
                self._missing.listing_of(place)
            for name in sorted(self._manifest.subdirectories.get(place, ())):
                below = _join(place, name)
                if place != paths.ROOT and _is_ordinary(name) and below not in places:
                    places.append(below)
            if len(places) > _PLACES:
                break
        for place in places:
            if any(home != paths.ROOT and _lies_in(place, home) for home in homes):
                self._foresee_hashes(place)

    def _foresee_hashes(self, place: str) -> None:
        names = self._manifest.directories.get(place, frozenset())
        for name in sorted(names - self._manifest.subdirectories.get(place, frozenset())):
            key = _join(place, name)
            if Path(name).suffix.lower() in _PARTS and key not in self._manifest.files:
                self._missing.hash_of(key)

    def _references(self, key: str, digest: str) -> Iterator[str]:
        """Yield the names of files in a file, each once."""
        suffix = Path(key).suffix.lower()
        pattern = _REFERENCES if suffix in _SCANNED else _PROPERTY
        if suffix not in (*_SCANNED, _PROPERTIES):
            return
        content = self._blobs.read(digest)
        if content is None or len(content) > _LARGEST_SCANNED:
            return
        seen = set()
        for match in pattern.finditer(content.decode("utf-8", "replace")):
            name = next(group for group in match.groups() if group).strip()
            name = name.removeprefix("classpath:").replace("\\", "/").lstrip("/")
            if name and "${" not in name and not is_url(name) and name not in seen:
                seen.add(name)
                yield name

    def _is_directory(self, key: str) -> bool:
        if key in self._manifest.files:
            return False
        if key in self._manifest.directories:
            return True
        name = key.rpartition("/")[2]
        return name in self._manifest.subdirectories.get(paths.parent(key), ())


def client_work_dir(stage: LiquibaseStage, manifest: Manifest) -> str | None:
    """Return the key of the client's working directory, None when it has none."""
    given = stage.work_dir or manifest.work_dir
    return None if given is None else manifest.key_of(given)


def _inside(path: str, value: str) -> str:
    key = posixpath.normpath(path)
    if key.split("/")[0] == "..":
        raise InvalidArgument("the file is outside the workspace: move it inside", value)
    return key


def _join(place: str, name: str) -> str:
    return name if place == paths.ROOT else f"{place}/{name}"


def _lies_in(place: str, home: str) -> bool:
    return place == home or place.startswith(f"{home}/")


def _is_ordinary(name: str) -> bool:
    return not name.startswith(".") and name != "node_modules"
