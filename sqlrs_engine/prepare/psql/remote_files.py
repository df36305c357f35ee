"""Files on a client's machine, as its manifest describes them and as it has uploaded them.

No path of the request is opened on this machine. Missing files are collected rather than raised one
by one: a missing script counts as empty until everything else has been requested from the client.
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
from .prefetch import Includes, prefetch

_REMEMBERED = 4096
_EMPTY = Script(b"", bytes)
# These make psql write files, which the client would look for on its own machine.
_OUTPUT_OPTIONS = {"o": "--output", "L": "--log-file"}


@dataclass(frozen=True, slots=True)
class BlobRead(FileRead):
    """A file of the client's, whose content cannot change: other content is another file.

    ``rewritable`` is whether the script itself may change the file where it is staged.
    """

    key: str
    digest: str
    rewritable: bool = False

    def unchanged(self) -> bool:
        """Return True."""
        return True


class UploadedScripts:
    """Uploaded scripts, split into parts and remembered; thread-safe."""

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Script] = OrderedDict()

    def script(self, digest: str) -> Script | None:
        """Return a script, None if it has not been uploaded."""
        if not self.blobs.use(digest):
            return None
        with self._lock:
            known = self._known.get(digest)
        if known is not None:
            return known
        content = self.blobs.read(digest)
        if content is None:
            return None
        script = Script(content, lambda: self._read_again(digest))
        with self._lock:
            self._known[digest] = script
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return script

    def _read_again(self, digest: str) -> bytes:
        content = self.blobs.read(digest)
        if content is None:
            raise Conflict("an uploaded file is gone: prepare again", digest)
        return content


class RemoteRequestFiles:
    """All files of one request.

    The path of a file is its key below ``root``: on a POSIX client, that is its real path.
    """

    def __init__(self, manifest: Manifest, scripts: UploadedScripts) -> None:
        self.manifest = manifest
        self.scripts = scripts
        self.missing = Missing()
        self.includes = Includes()
        self._inputs: set[str] = set()
        self.work_dir = manifest.work_dir
        self.root = Path(paths.normal(manifest.root)) if manifest.root else Path()

    def argument_path(self, path: str) -> str:
        """Return the path of a file that an argument names. Raises InvalidArgument."""
        if not paths.is_absolute(path):
            raise InvalidArgument("file path must be absolute", path)
        place = self._place(path)
        self._inputs.add(self.key(place))
        return str(place)

    def check_options(self, step: StepArguments) -> None:
        """Raise InvalidArgument for options that make psql write files."""
        for letter, value in step.options:
            if letter in _OUTPUT_OPTIONS:
                raise InvalidArgument(
                    f"{_OUTPUT_OPTIONS[letter]} is not allowed from another machine: leave it out",
                    value,
                )

    def directory(self, path: str | None) -> Path | None:
        """Return a working directory, None if there is none or it is outside the workspace."""
        if path is None or self.manifest.root is None:
            return None
        try:
            return self._place(path)
        except InvalidArgument:
            return None

    def for_step(self) -> "RemoteScriptFiles":
        """Return the files as one step sees them."""
        return RemoteScriptFiles(self)

    @contextmanager
    def collect_missing(self) -> Iterator[None]:
        """Raise SourceInputsMissing at the end of the block if any file was missing.

        It replaces an InvalidArgument, which may be wrong without the missing files.
        """
        try:
            yield
        except InvalidArgument:
            if self.missing:
                raise self._missing_error() from None
            raise
        if self.missing:
            raise self._missing_error()

    def note_script(self, key: str, *, has_hash: bool, has_content: bool) -> None:
        """Note that a script is read, and what is missing of it; arguments do not count."""
        if key in self._inputs:
            return
        found = self.includes
        kind = found.read if has_content else found.without_content
        (kind if has_hash else found.without_hash).add(key)

    def _missing_error(self) -> SourceInputsMissing:
        prefetch(self.includes, self.manifest, self.scripts.blobs, self.missing)
        return self.missing.error()

    def key(self, path: Path) -> str:
        """Return the key of a file. Raises InvalidArgument if it is outside the workspace."""
        rest = str(path).removeprefix(str(self.root)).lstrip("/")
        key = posixpath.normpath(rest)
        if key.split("/")[0] == "..":
            raise InvalidArgument("the file is outside the workspace: move it inside", str(path))
        return key

    def _place(self, path: str) -> Path:
        return self.root / self.manifest.key_of(path)


class RemoteScriptFiles:
    """The files that the script of one step reads.

    After a missing script nothing is certain: it may change the directory or a variable, or
    write a file. From there on, the client is asked only for files that are known to exist.
    """

    def __init__(self, request: RemoteRequestFiles) -> None:
        self._request = request
        self._unsure = False

    def check_name(self, name: str) -> None:
        """Raise InvalidArgument for a name that psql would look for outside its directory."""
        if paths.is_absolute(name) or name.startswith("~"):
            raise InvalidArgument(
                "absolute paths in scripts are not allowed from another machine",
                f"write {name} relative to the script (\\ir) or the working directory",
            )

    def is_absolute(self, name: str) -> bool:
        """Return whether a name does not depend on a directory; it may be a Windows path."""
        root = str(self._request.root)
        return name.startswith("/") or (root != "." and name.startswith(root))

    def exists(self, path: Path) -> bool:
        """Return whether a file exists; if that is not known yet, ask for a listing."""
        known = self._request.manifest.holds(self._request.key(path))
        if isinstance(known, str):
            self._request.missing.listing_of(known)
            self._unsure = True
            return False
        return known

    def is_here(self, path: Path) -> bool:
        """Return False: the client has the file, if there is one."""
        return False

    def is_special(self, path: Path) -> bool:
        """Return False: only regular files are staged."""
        return False

    def is_enterable(self, path: Path) -> bool | None:
        """Return None: which directories exist depends on all files that are staged."""
        return None

    def resolve(self, path: Path) -> str:
        """Return a path without ``..``: there are no links to resolve on this machine."""
        return posixpath.normpath(str(path))

    def rewritable(self, file: FileRead) -> FileRead | None:
        """Return a file as one that the script itself may change."""
        return replace(file, rewritable=True) if isinstance(file, BlobRead) else None

    def script(self, path: Path) -> tuple[Script, FileRead]:
        """Return a script. Raises InvalidArgument if there is no such file."""
        key, digest = self._find(path)
        script = self._request.scripts.script(digest) if digest else None
        if digest or not self._unsure:
            self._request.note_script(key, has_hash=bool(digest), has_content=script is not None)
        if script is None:
            self._unsure = True
            if digest:
                self._request.missing.blob(key, digest)
            script = _EMPTY
        return script, BlobRead(path, (), key, digest)

    def digest(self, path: Path) -> tuple[str, FileRead]:
        """Return the SHA-256 of a data file. Raises InvalidArgument if there is none."""
        key, digest = self._find(path)
        if digest and not self._request.scripts.blobs.use(digest):
            self._request.missing.blob(key, digest)
        return digest, BlobRead(path, (), key, digest)

    def _find(self, path: Path) -> tuple[str, str]:
        """Return the key and digest of a file; the digest is empty once it has been asked for."""
        key = self._request.key(path)
        digest = self._request.manifest.files.get(key)
        if digest is not None:
            return key, digest
        known = self._request.manifest.holds(key)
        if isinstance(known, str) and self._unsure:
            self._request.missing.listing_of(known)
        elif known is not False:
            self._request.missing.hash_of(key)
        elif not self._unsure:
            raise InvalidArgument("cannot read file", str(path))
        return key, ""
