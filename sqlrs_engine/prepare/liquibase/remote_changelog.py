"""Changelogs of a client on another machine: which of its files Liquibase will read.

Liquibase reads files of this machine only, so what a changelog leads to is found beforehand,
by what its files name: whatever stands where formats put names of files, and is there. A file
more than Liquibase reads does no harm, and what only Liquibase can work out (``${…}`` in a
name) it misses with its own words.
"""

import hashlib
import json
import posixpath
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sqlrs_engine.errors import EngineError, InvalidArgument
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.sources import Blobs, Manifest, Missing, Trees, paths

from .arguments import CHANGELOG, DEFAULTS, SEARCH, flagged_paths, is_path_flag

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


@dataclass(frozen=True, slots=True)
class Closure:
    """The files of a changelog: digests by key."""

    files: Mapping[str, str]


class RemoteChangelog:
    """Finds the files of one request in its manifest and what has been uploaded."""

    def __init__(self, manifest: Manifest, blobs: Blobs) -> None:
        self._manifest = manifest
        self._blobs = blobs
        self._missing = Missing()
        self._changelogs: set[str] = set()
        self._files: dict[str, str] = {}
        self._listed: set[str] = set()

    def closure(self, request: PrepareRequest) -> Closure:
        """Return all that Liquibase may read.

        Raises InvalidArgument for paths that are not in the workspace, SourceInputsMissing.
        """
        work_dir = _work_dir(request, self._manifest)
        named = list(flagged_paths(request.liquibase_args))
        searched = [value for flag, text in named if flag == SEARCH for value in text.split(",")]
        roots = [self._key(each, work_dir) for each in searched if not _is_url(each)]
        absolute = [v for flag, v in named if flag == CHANGELOG and paths.is_absolute(v)]
        roots = roots or [work_dir or paths.parent(self._key(absolute[0], None))]
        for flag, value in named:
            if _is_url(value):
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
        return Closure(self._files)

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
        """Want the changelog that is found below the search path, which must be there."""
        candidates = [_inside(posixpath.join(root, value), value) for root in roots]
        if len(candidates) == 1:
            self._changelogs.add(candidates[0])
            self._want(candidates[0], roots)
            return
        for key in candidates:
            self._try(key, roots)

    def _try(self, key: str, roots: list[str]) -> None:
        """Want a file, or all files below a directory, if there is one."""
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
        """Take a file and what it names; ask for what is missing of it."""
        if key in self._files:
            return
        if len(self._files) >= _FILES:
            raise InvalidArgument("the changelog names too many files", f"at most {_FILES}")
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
        """Ask for what later rounds will, around the changelog: clients give up after eight.

        Listings of what there is, and hashes of what changelogs are made of; contents are
        asked for when something names them.
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
        """Yield the names of files in a file, each in either of its spellings."""
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
            if name and "${" not in name and not _is_url(name) and name not in seen:
                seen.add(name)
                yield name

    def _is_directory(self, key: str) -> bool:
        if key in self._manifest.files:
            return False
        if key in self._manifest.directories:
            return True
        name = key.rpartition("/")[2]
        return name in self._manifest.subdirectories.get(paths.parent(key), ())


class Workspaces:
    """The files of changelogs laid out for Liquibase: one tree for all requests of the same.

    At the same place, so that what Liquibase has read of it is remembered. Thread-safe.
    """

    def __init__(self, blobs: Blobs, trees: Trees) -> None:
        self._blobs = blobs
        self._trees = trees
        self._lock = threading.Lock()
        self._used: Counter[str] = Counter()

    def check(self, request: PrepareRequest, manifest: Manifest) -> Closure:
        """Return the files of a request. Raises InvalidArgument, SourceInputsMissing."""
        return RemoteChangelog(manifest, self._blobs).closure(request)

    def open(self, request: PrepareRequest, manifest: Manifest) -> "Workspace":
        """Lay a request's files out; the workspace has to be closed.

        Raises as ``check`` does, Conflict when an uploaded file is gone, StorageFull.
        """
        files = self.check(request, manifest).files
        named = json.dumps([sorted(files.items()), manifest.root, request.work_dir])
        name = f"lb-{hashlib.sha256(named.encode()).hexdigest()[:32]}"
        with self._lock:
            root = self._trees.place(name)
            if not self._used[name]:
                self._trees.remove(name)
                self._trees.lay_out(name, files)
            self._used[name] += 1
        return Workspace(root, request, manifest, lambda: self._close(name))

    def _close(self, name: str) -> None:
        with self._lock:
            self._used[name] -= 1
            if not self._used[name]:
                del self._used[name]
                self._trees.remove(name)


class Workspace:
    """A client's files at ``root``, and its request as it reads here."""

    def __init__(
        self, root: Path, request: PrepareRequest, manifest: Manifest, close: Callable[[], None]
    ) -> None:
        self.root = root
        self._give_up: Callable[[], None] | None = close
        self._manifest = manifest
        self._client_root = (manifest.root or "").rstrip("/\\")
        work_dir = _work_dir(request, manifest)
        arguments = tuple(self._arguments(request.liquibase_args))
        # The programs that the client has are not here.
        self.request = replace(
            request,
            liquibase_args=arguments,
            liquibase_exec=None,
            liquibase_env=None,
            work_dir=None if work_dir is None else str(self._directory(work_dir)),
            source_manifest=None,
        )
        for flag, value in flagged_paths(arguments):
            if flag == SEARCH:
                for each in value.split(","):
                    if Path(each).is_relative_to(root):
                        Path(each).mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """Give the files up; a second time nothing happens."""
        give_up, self._give_up = self._give_up, None
        if give_up is not None:
            give_up()

    def told(self, text: str) -> str:
        """Return a text with the client's paths in place of those here."""
        return text.replace(str(self.root), self._client_root)

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Name the client's paths in what is raised in the block."""
        try:
            yield
        except EngineError as error:
            error.message = self.told(error.message)
            error.details = error.details and self.told(error.details)
            raise

    def _directory(self, key: str) -> Path:
        directory = self.root / key
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def _arguments(self, words: Sequence[str]) -> Iterator[str]:
        """Yield the arguments with the client's absolute paths as they are here."""
        is_value = False
        for word in words:
            name, separator, value = word.partition("=")
            if is_value:
                yield self._paths(word)
            elif separator and is_path_flag(name):
                yield f"{name}={self._paths(value)}"
            else:
                yield word
            is_value = not is_value and not separator and is_path_flag(name)

    def _paths(self, value: str) -> str:
        return ",".join(self._path(each) for each in value.split(","))

    def _path(self, value: str) -> str:
        if not paths.is_absolute(value.strip()):
            return value
        try:
            return str(self.root / self._manifest.key_of(value.strip()))
        except InvalidArgument:
            return value


def _work_dir(request: PrepareRequest, manifest: Manifest) -> str | None:
    """Return the key of the client's working directory."""
    given = request.work_dir or manifest.work_dir
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


def _is_url(value: str) -> bool:
    return "://" in value or value.startswith("classpath:")
