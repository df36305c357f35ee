"""Reads a changelog, by Liquibase or from the cache, and applies it changeset by changeset."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlrs_engine.errors import Conflict, StepFailed
from sqlrs_engine.prepare.file_reads import FileRead
from sqlrs_engine.prepare.job_context import JobContext

from .changelog import Changelog, Changeset, path_of
from .changelog_cache import ChangelogCache
from .command import Command
from .session import Session
from .session_pool import SessionPool


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """How Liquibase is started for a changelog.

    ``key`` is everything that ``start`` depends on, ``url`` names the kind of database. With a
    ``command``, that applies the changesets and a session only reads the changelog.
    """

    key: Sequence[Any]
    start: Callable[[], Session]
    command: Command | None
    url: str
    defaults_files: Sequence[Path]


class Reader:
    """Reads one changelog and applies its changesets; starts Liquibase when it is needed."""

    def __init__(
        self, invocation: Invocation, cache: ChangelogCache, sessions: SessionPool
    ) -> None:
        self._invocation = invocation
        self._cache = cache
        self._sessions = sessions
        self._session: Session | None = None
        # Liquibase reads its defaults files when it starts, so they count as well.
        self._session_key: Sequence[Any] = ()
        self._changelog: Changelog | None = None

    def read(self, context: JobContext) -> tuple[Changelog, tuple[FileRead, ...]]:
        """Return the changelog and its files, without Liquibase if nothing has changed.

        Raises StepFailed with Liquibase's error, Conflict when a file changes meanwhile,
        LiquibaseUnavailable, and what ``context.cancellation.check`` does.
        """
        known = self._cache.get(self._invocation.key)
        if known is not None:
            self._changelog = known[0]
            return known
        since = time.time()
        defaults = self._cache.digests(self._invocation.defaults_files)
        changelog = self._changelog = self._plan(context)
        files = self._cache.check(changelog)
        if self._cache.digests(self._invocation.defaults_files) != defaults:
            # Liquibase may have read either.
            self._discard()
            raise Conflict("the defaults file changed while Liquibase started: prepare again")
        self._cache.put(self._invocation.key, changelog, defaults, since)
        return changelog, files

    def apply(
        self,
        index: int | None,
        changeset: Changeset | None,
        connection: tuple[str, str, str],
        settings: Mapping[str, str],
        context: JobContext,
    ) -> None:
        """Apply a changeset of the changelog; ``leave`` before the server stops.

        See ``Session.apply``. Raises Conflict when the changelog has changed since ``read``.
        """
        on_line = _log(context)
        if self._invocation.command is not None:
            count = 0 if index is None else index + 1
            name = changeset.name if changeset else "no changesets"
            self._invocation.command.update(count, connection, name, context.cancellation, on_line)
            return
        if self._session is None and self._plan(context) != self._changelog:
            raise Conflict("the changelog changed while it was prepared: prepare again")
        assert self._session is not None and self._changelog is not None  # noqa: S101, PT018
        read = self._session.apply(
            index, changeset, connection, settings, context.cancellation, on_line
        )
        known = changeset.files if changeset else {}
        unknown = [uri for uri in read if uri[:5] == "file:" and str(path_of(uri)) not in known]
        if unknown:
            raise StepFailed(
                "a changeset reads files that nothing names before it runs: name them in the "
                "changelog",
                f"{changeset and changeset.name}: {', '.join(unknown)}",
            )

    def leave(self, context: JobContext) -> Mapping[str, str]:
        """End the database session of the last changeset; return the settings it leaves.

        See ``Session.leave``.
        """
        if self._invocation.command is not None or self._session is None:
            return {}
        return self._session.leave(context.cancellation, _log(context))

    @property
    def starts_over(self) -> bool:
        """Whether a changeset needs all before it to run again, in the same process.

        On the command line a second update would not do what the first did: it runs again
        the changesets that run always, and lacks the settings that the first session had made.
        """
        return self._invocation.command is not None

    def close(self) -> None:
        """End Liquibase if it runs, or leave it to the next job."""
        if self._changelog is not None and self._changelog.archived:
            self._discard()  # its archives are open, and may be others tomorrow
        if self._session is not None:
            self._sessions.give_back(self._session_key, self._session)
            self._session = None

    def _discard(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _plan(self, context: JobContext) -> Changelog:
        self._session_key = [
            *self._invocation.key,
            self._cache.digests(self._invocation.defaults_files),
        ]
        self._session = self._sessions.take(self._session_key, self._invocation.start)
        context.log("liquibase: reading the changelog")
        return self._session.plan(self._invocation.url, context.cancellation, _log(context))


def _log(context: JobContext) -> Callable[[str], None]:
    return lambda line: context.log(f"liquibase: {line}")
