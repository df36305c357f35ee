"""The files of a client's changelog, staged on this machine for Liquibase."""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sqlrs_engine.errors import EngineError, InvalidArgument
from sqlrs_engine.prepare.stages import LiquibaseStage
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

    def files(self, stage: LiquibaseStage, manifest: Manifest) -> Mapping[str, str]:
        """Return the files of a stage, digests by key; see ``RemoteChangelog.files``."""
        return RemoteChangelog(manifest, self._blobs).files(stage)

    def find(self, stage: LiquibaseStage, manifest: Manifest) -> "StagedChangelog":
        """Return a stage's files, with the paths that they get when they are staged.

        Raises InvalidArgument, SourceInputsMissing.
        """
        files = self.files(stage, manifest)
        named = json.dumps([sorted(files.items()), manifest.root, stage.work_dir])
        name = f"lb-{hashlib.sha256(named.encode()).hexdigest()[:32]}"
        return StagedChangelog(self, name, self._trees.place(name), files, stage, manifest)

    def stage(self, name: str, files: Mapping[str, str]) -> None:
        """Stage the files of one more user of a tree; see ``Trees.stage``."""
        with self._lock:
            if not self._used[name]:
                self._trees.remove(name)
                self._trees.stage(name, files)
            self._used[name] += 1

    def release(self, name: str) -> None:
        """Remove a tree after its last user."""
        with self._lock:
            self._used[name] -= 1
            if not self._used[name]:
                del self._used[name]
                self._trees.remove(name)


class StagedChangelog:
    """A client's files below ``root``, and ``local_stage``: its stage with the paths there."""

    def __init__(
        self,
        changelogs: StagedChangelogs,
        name: str,
        root: Path,
        files: Mapping[str, str],
        stage: LiquibaseStage,
        manifest: Manifest,
    ) -> None:
        self.root = root
        self._changelogs = changelogs
        self._name = name
        self._files = files
        self._is_staged = False
        self._manifest = manifest
        self._client_root = (manifest.root or "").rstrip("/\\")
        work_dir = client_work_dir(stage, manifest)
        arguments = tuple(self._arguments(stage.liquibase_args))
        # The client's Liquibase and its environment are on the client's machine.
        self.local_stage = replace(
            stage,
            liquibase_args=arguments,
            liquibase_exec=None,
            liquibase_env=None,
            work_dir=None if work_dir is None else str(root / work_dir),
            source_manifest=None,
        )
        searched = [
            Path(each)
            for flag, value in flagged_paths(arguments)
            if flag == SEARCH
            for each in value.split(",")
        ]
        # They may hold no file that Liquibase needs.
        self._directories = [path for path in searched if path.is_relative_to(root)]
        if work_dir is not None:
            self._directories.append(root / work_dir)

    def exists(self, path: Path) -> bool:
        """Return whether a path is among the files and directories, staged or not."""
        staged = [*(self.root / key for key in self._files), *self._directories]
        return any(each.is_relative_to(path) for each in staged) and path.is_relative_to(self.root)

    def stage(self) -> None:
        """Stage the files; close them after use.

        Raises Conflict when an uploaded file is gone, StorageFull.
        """
        self._changelogs.stage(self._name, self._files)
        self._is_staged = True
        for directory in self._directories:
            directory.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """Remove the files unless another request uses them; harmless when repeated."""
        if self._is_staged:
            self._is_staged = False
            self._changelogs.release(self._name)

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
