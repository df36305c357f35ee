"""Files of a request from another machine: read from its manifest and what it has uploaded.

Nothing here opens a path of the request. What is missing is collected, not raised at the
first: a missing script counts as empty until the client has been asked for all the rest.
"""

import posixpath
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sqlrs_engine.errors import Conflict, InvalidArgument, SourceInputsMissing
from sqlrs_engine.prepare.file_reads import FileRead
from sqlrs_engine.sources import Blobs, Manifest, Missing, paths

from .arguments import StepArguments
from .lexer.script import Script
from .prefetch import Includes, foresee

_REMEMBERED = 4096
_NOTHING = Script(b"", bytes)
# Files that psql would write; the client would look for them on its own machine.
_WRITTEN = {"o": "--output", "L": "--log-file"}


@dataclass(frozen=True, slots=True)
class BlobRead(FileRead):
    """A file of the client's; its content cannot change, only be another one.

    One that is the script's ``own`` it may change where it is laid out.
    """

    key: str
    digest: str
    own: bool = False

    def unchanged(self) -> bool:
        """Tell that it is as it was."""
        return True


class Scripts:
    """Uploaded scripts, taken apart and remembered; thread-safe."""

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Script] = OrderedDict()

    def script(self, digest: str) -> Script | None:
        """Return a script, None when it has not been uploaded."""
        if not self.blobs.use(digest):
            return None
        with self._lock:
            known = self._known.get(digest)
        if known is not None:
            return known
        content = self.blobs.read(digest)
        if content is None:
            return None
        script = Script(content, lambda: self._again(digest))
        with self._lock:
            self._known[digest] = script
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return script

    def _again(self, digest: str) -> bytes:
        content = self.blobs.read(digest)
        if content is None:
            raise Conflict("an uploaded file is gone: prepare again", digest)
        return content


class RemoteSources:
    """The files of one request.

    A file's path is ``root`` with its key: on a POSIX client, what the path is there.
    """

    def __init__(self, manifest: Manifest, scripts: Scripts) -> None:
        self.manifest = manifest
        self.scripts = scripts
        self.missing = Missing()
        self.includes = Includes()
        self._inputs: set[str] = set()
        self.work_dir = manifest.work_dir
        self.root = Path(paths.normal(manifest.root)) if manifest.root else Path()

    def bind(self, path: str) -> str:
        """Return the path of a file that an argument names. Raises InvalidArgument."""
        if not paths.is_absolute(path):
            raise InvalidArgument("file path must be absolute", path)
        place = self._place(path)
        self._inputs.add(self.key(place))
        return str(place)

    def check_options(self, step: StepArguments) -> None:
        """Raise InvalidArgument for options that have psql write files."""
        for letter, value in step.options:
            if letter in _WRITTEN:
                raise InvalidArgument(
                    f"{_WRITTEN[letter]} is not allowed from another machine: leave it out", value
                )

    def directory(self, path: str | None) -> Path | None:
        """Return a working directory; None when there is none, or not in the workspace."""
        if path is None or self.manifest.root is None:
            return None
        try:
            return self._place(path)
        except InvalidArgument:
            return None

    def of_step(self) -> "RemoteFiles":
        """Return the files as one run of psql sees them."""
        return RemoteFiles(self)

    @contextmanager
    def complete(self) -> Iterator[None]:
        """Raise SourceInputsMissing when anything turns out to be missing in the block.

        It goes before what else is raised, which may be wrong without what is missing.
        """
        try:
            yield
        except InvalidArgument:
            if self.missing:
                raise self._error() from None
            raise
        if self.missing:
            raise self._error()

    def met(self, key: str, *, has_hash: bool, has_content: bool) -> None:
        """Note a script that is read."""
        if key in self._inputs:
            return
        found = self.includes
        kind = found.read if has_content else found.without_content
        (kind if has_hash else found.without_hash).add(key)

    def _error(self) -> SourceInputsMissing:
        foresee(self.includes, self.manifest, self.scripts.blobs, self.missing)
        return self.missing.error()

    def key(self, path: Path) -> str:
        """Return the key of a file. Raises InvalidArgument when it is not in the workspace."""
        rest = str(path).removeprefix(str(self.root)).lstrip("/")
        key = posixpath.normpath(rest)
        if key.split("/")[0] == "..":
            raise InvalidArgument("the file is outside the workspace: move it inside", str(path))
        return key

    def _place(self, path: str) -> Path:
        return self.root / self.manifest.key_of(path)


class RemoteFiles:
    """See ``content.Files``.

    What follows a missing script cannot be told for sure: that may have changed the
    directory or a variable, or written a file. Then only what is known to exist is asked for.
    """

    def __init__(self, sources: RemoteSources) -> None:
        self._sources = sources
        self._unsure = False

    def admit(self, name: str) -> None:
        """Raise InvalidArgument for names that psql would look for outside its directory."""
        if paths.is_absolute(name) or name.startswith("~"):
            raise InvalidArgument(
                "absolute paths in scripts are not allowed from another machine",
                f"write {name} relative to the script (\\ir) or the working directory",
            )

    def absolute(self, name: str) -> bool:
        """Return whether a name does not depend on a directory: on Windows, it begins otherwise."""
        root = str(self._sources.root)
        return name.startswith("/") or (root != "." and name.startswith(root))

    def exists(self, path: Path) -> bool:
        """Return whether a file is there; what cannot be told yet is asked for."""
        known = self._sources.manifest.holds(self._sources.key(path))
        if isinstance(known, str):
            self._sources.missing.listing_of(known)
            self._unsure = True
            return False
        return known

    def irregular(self, path: Path) -> bool:
        """Tell that nothing but files is laid out."""
        return False

    def enterable(self, path: Path) -> bool | None:
        """Tell that it depends on what else is laid out whether a directory is there."""
        return None

    def resolve(self, path: Path) -> str:
        """Return a path as text: nothing of it is on this machine."""
        return posixpath.normpath(str(path))

    def own(self, read: FileRead) -> FileRead | None:
        """Return what psql must find of a file that it writes itself."""
        return replace(read, own=True) if isinstance(read, BlobRead) else None

    def script(self, path: Path) -> tuple[Script, FileRead]:
        """Return a script. Raises InvalidArgument when there is no such file."""
        key, digest = self._find(path)
        parts = self._sources.scripts.script(digest) if digest else None
        if digest or not self._unsure:
            self._sources.met(key, has_hash=bool(digest), has_content=parts is not None)
        if parts is None:
            self._unsure = True
            if digest:
                self._sources.missing.blob(key, digest)
            parts = _NOTHING
        return parts, BlobRead(path, (), key, digest)

    def digest(self, path: Path) -> tuple[str, FileRead]:
        """Return the SHA-256 of a data file. Raises InvalidArgument when there is none."""
        key, digest = self._find(path)
        if digest and not self._sources.scripts.blobs.use(digest):
            self._sources.missing.blob(key, digest)
        return digest, BlobRead(path, (), key, digest)

    def _find(self, path: Path) -> tuple[str, str]:
        """Return a file's key and digest; the latter empty when it has been asked for."""
        key = self._sources.key(path)
        digest = self._sources.manifest.files.get(key)
        if digest is not None:
            return key, digest
        known = self._sources.manifest.holds(key)
        if isinstance(known, str) and self._unsure:
            self._sources.missing.listing_of(known)
        elif known is not False:
            self._sources.missing.hash_of(key)
        elif not self._unsure:
            raise InvalidArgument("cannot read file", str(path))
        return key, ""
