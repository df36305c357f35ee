"""A changelog of a client on another machine, read where its files are laid out."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlrs_engine.prepare.file_reads import FileRead
from sqlrs_engine.prepare.job_context import JobContext

from .changelog import Changelog, Changeset
from .reader import Reader
from .remote_changelog import Workspace


class RemoteReader(Reader):
    """A reader that speaks of the client's paths, and gives the laid out files up in the end."""

    def __init__(self, workspace: Workspace, *args: Any) -> None:
        super().__init__(*args)
        self._workspace: Workspace = workspace

    def read(self, work: JobContext) -> tuple[Changelog, tuple[FileRead, ...]]:
        """See ``Reader.read``."""
        with self._workspace.telling():
            return super().read(self._told(work))

    def apply(
        self,
        index: int | None,
        changeset: Changeset | None,
        connection: tuple[str, str, str],
        settings: Mapping[str, str],
        work: JobContext,
    ) -> Mapping[str, str]:
        """See ``Reader.apply``."""
        with self._workspace.telling():
            return super().apply(index, changeset, connection, settings, self._told(work))

    def close(self) -> None:
        """Give Liquibase up, and the files."""
        super().close()
        self._workspace.close()

    def _told(self, work: JobContext) -> JobContext:
        return replace(work, log=lambda line: work.log(self._workspace.told(line)))
