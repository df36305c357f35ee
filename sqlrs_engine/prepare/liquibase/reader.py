"""One changelog: read by Liquibase, or remembered; its changesets applied by a process or more."""

import time
from collections.abc import Callable, Mapping, Sequence
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


class Reader:
    """Reads one changelog and applies its changesets; Liquibase runs from when it is needed."""

    def __init__(
        self,
        key: Sequence[Any],
        start: Callable[[], Session],
        command: Command | None,
        url: str,
        beside: Sequence[Path],
        memory: ChangelogCache,
        sessions: SessionPool,
    ) -> None:
        """``key`` is all that ``start`` depends on, ``url`` names the kind of database.

        ``command`` is to be used in place of a session, which is to read the changelog only.
        """
        self._key = key
        self._start = start
        self._command = command
        self._url = url
        self._beside = beside
        self._memory = memory
        self._sessions = sessions
        self._session: Session | None = None
        # Liquibase reads its defaults file when it starts.
        self._session_key: Sequence[Any] = ()
        self._changelog: Changelog | None = None

    def read(self, work: JobContext) -> tuple[Changelog, tuple[FileRead, ...]]:
        """Return the changelog and its files, without Liquibase if nothing has changed.

        Raises StepFailed with Liquibase's own words, Conflict when a file changes meanwhile,
        LiquibaseUnavailable, and what ``work.cancellation.check`` does.
        """
        known = self._memory.recall(self._key)
        if known is not None:
            self._changelog = known[0]
            return known
        since = time.time()
        beside = self._memory.digests(self._beside)
        changelog = self._changelog = self._plan(work)
        files = self._memory.check(changelog)
        if self._memory.digests(self._beside) != beside:
            # Nobody knows which of the two Liquibase has read.
            self._discard()
            raise Conflict("the defaults file changed while Liquibase started: prepare again")
        self._memory.keep(self._key, changelog, beside, since)
        return changelog, files

    def apply(
        self,
        index: int | None,
        changeset: Changeset | None,
        connection: tuple[str, str, str],
        settings: Mapping[str, str],
        work: JobContext,
    ) -> Mapping[str, str]:
        """Apply a changeset of the changelog; return the settings left. See ``Session.apply``.

        Raises Conflict when the changelog is not what it was when it was planned.
        """
        if self._command is not None:
            count = 0 if index is None else index + 1
            name = changeset.name if changeset else "no changesets"
            self._command.update(count, connection, name, work.cancellation, _told(work))
            return {}
        if self._session is None and self._plan(work) != self._changelog:
            raise Conflict("the changelog changed while it was prepared: prepare again")
        assert self._session is not None and self._changelog is not None  # noqa: S101, PT018
        read, left = self._session.apply(
            index, changeset, connection, settings, work.cancellation, _told(work)
        )
        known = changeset.files if changeset else {}
        unknown = [uri for uri in read if uri[:5] == "file:" and str(path_of(uri)) not in known]
        if unknown:
            raise StepFailed(
                "a changeset reads files that nothing names before it runs: name them in the "
                "changelog",
                f"{changeset and changeset.name}: {', '.join(unknown)}",
            )
        return left

    @property
    def starts_over(self) -> bool:
        """Whether a changeset needs all before it run again, in the same go.

        On the command line a second update would not do what the first did: it runs again
        what runs always, and knows nothing of what the session of the first had set.
        """
        return self._command is not None

    def close(self) -> None:
        """Give Liquibase up, if it runs."""
        if self._changelog is not None and self._changelog.archived:
            self._discard()  # its archives are open, and may be others tomorrow
        if self._session is not None:
            self._sessions.give_back(self._session_key, self._session)
            self._session = None

    def _discard(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _plan(self, work: JobContext) -> Changelog:
        self._session_key = [*self._key, self._memory.digests(self._beside)]
        self._session = self._sessions.take(self._session_key, self._start)
        work.log("liquibase: reading the changelog")
        return self._session.plan(self._url, work.cancellation, _told(work))


def _told(work: JobContext) -> Callable[[str], None]:
    return lambda line: work.log(f"liquibase: {line}")
