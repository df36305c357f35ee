"""A changelog of a client on another machine, read where its files are staged."""

from collections.abc import Mapping
from dataclasses import replace

from sqlrs_engine.prepare.file_reads import FileRead
from sqlrs_engine.prepare.job_context import JobContext

from .changelog import Changelog, Changeset
from .changelog_cache import ChangelogCache
from .reader import Invocation, Reader
from .session_pool import SessionPool
from .staged_changelogs import StagedChangelog


class RemoteReader(Reader):
    """A reader whose messages have the client's paths; closing it closes the staged files."""

    def __init__(
        self,
        invocation: Invocation,
        cache: ChangelogCache,
        sessions: SessionPool,
        staged: StagedChangelog,
    ) -> None:
        super().__init__(invocation, cache, sessions)
        self._staged = staged

    def read(self, context: JobContext) -> tuple[Changelog, tuple[FileRead, ...]]:
        """See ``Reader.read``."""
        with self._staged.client_errors():
            return super().read(self._client_context(context))

    def apply(
        self,
        index: int | None,
        changeset: Changeset | None,
        connection: tuple[str, str, str],
        settings: Mapping[str, str],
        context: JobContext,
    ) -> None:
        """See ``Reader.apply``."""
        with self._staged.client_errors():
            super().apply(index, changeset, connection, settings, self._client_context(context))

    def leave(self, context: JobContext) -> Mapping[str, str]:
        """See ``Reader.leave``."""
        with self._staged.client_errors():
            return super().leave(self._client_context(context))

    def close(self) -> None:
        """End Liquibase, and remove the files unless another request uses them."""
        super().close()
        self._staged.close()

    def _client_context(self, context: JobContext) -> JobContext:
        return replace(context, log=lambda line: context.log(self._staged.client_text(line)))
