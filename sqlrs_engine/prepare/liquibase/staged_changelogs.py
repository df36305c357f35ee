"""The files of a client's changelog, staged on this machine for Liquibase."""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sqlrs_engine.errors import EngineError, InvalidArgument
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.sources import Blobs, Manifest, Trees, paths

from .arguments import SEARCH, flagged_paths, is_path_flag
from .remote_changelog import RemoteChangelog, client_work_dir


class StagedChangelogs:
    """Stages changelogs: one tree for all requests with the same files; thread-safe.

    The same files are always at the same path, so that the changelog cache knows them.
    """

    def __init__(self, blobs: Blobs, trees: Trees) -> None:
        self._blobs = blobs
        self._trees = trees
        self._lock = threading.Lock()
        self._used: Counter[str] = Counter()

    def files(self, request: PrepareRequest, manifest: Manifest) -> Mapping[str, str]:
        """Return the files of a request, digests by key; see ``RemoteChangelog.files``."""
        return RemoteChangelog(manifest, self._blobs).files(request)

    def open(self, request: PrepareRequest, manifest: Manifest) -> "StagedChangelog":
        """Stage a request's files; close them after use.

        Raises InvalidArgument, SourceInputsMissing, Conflict when an uploaded file is gone,
        StorageFull.
        """
        files = self.files(request, manifest)
        named = json.dumps([sorted(files.items()), manifest.root, request.work_dir])
        name = f"lb-{hashlib.sha256(named.encode()).hexdigest()[:32]}"
        with self._lock:
            root = self._trees.place(name)
            if not self._used[name]:
                self._trees.remove(name)
                self._trees.lay_out(name, files)
            self._used[name] += 1
        return StagedChangelog(root, request, manifest, lambda: self._close(name))

    def _close(self, name: str) -> None:
        with self._lock:
            self._used[name] -= 1
            if not self._used[name]:
                del self._used[name]
                self._trees.remove(name)


class StagedChangelog:
    """A client's files below ``root``, and its request with the paths there."""

    def __init__(
        self, root: Path, request: PrepareRequest, manifest: Manifest, close: Callable[[], None]
    ) -> None:
        self.root = root
        self._remove: Callable[[], None] | None = close
        self._manifest = manifest
        self._client_root = (manifest.root or "").rstrip("/\\")
        work_dir = client_work_dir(request, manifest)
        arguments = tuple(self._arguments(request.liquibase_args))
        # The client's Liquibase and its environment are on the client's machine.
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
        """Remove the files unless another request uses them; harmless when repeated."""
        remove, self._remove = self._remove, None
        if remove is not None:
            remove()

    def client_text(self, text: str) -> str:
        """Return ``text`` with the client's paths in place of the staged ones."""
        return text.replace(str(self.root), self._client_root)

    @contextmanager
    def client_errors(self) -> Iterator[None]:
        """Put the client's paths in the errors that the block raises."""
        try:
            yield
        except EngineError as error:
            error.message = self.client_text(error.message)
            error.details = error.details and self.client_text(error.details)
            raise

    def _directory(self, key: str) -> Path:
        directory = self.root / key
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def _arguments(self, words: Sequence[str]) -> Iterator[str]:
        """Yield the arguments with staged paths in place of the client's absolute ones."""
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
