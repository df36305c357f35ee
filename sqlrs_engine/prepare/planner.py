"""Drafts the plans of requests, each kind by its own planner."""

from pathlib import Path

from sqlrs_engine.config import Config
from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.sources import Blobs, Trees

from .file_reads import FileDigests
from .liquibase import LiquibasePlanner, StagedChangelogs
from .plan import Configured, Draft
from .psql.local_files import LocalFiles
from .psql.planner import PsqlPlanner
from .request import PrepareRequest


class Planner:
    """Drafts the plans of psql scripts and Liquibase changelogs; remembers what it has read."""

    def __init__(
        self,
        blobs: Blobs | None = None,
        *,
        trees: Trees | None = None,
        changelogs: Path,
        config: Config,
        home: str | None = None,
    ) -> None:
        """``blobs`` are the contents that clients on other machines have uploaded.

        ``trees`` is where they are staged, ``changelogs`` the directory of remembered changelogs,
        ``home`` the user's ``$HOME``.
        """
        digests = FileDigests()
        staged = None
        if blobs is not None and trees is not None:
            staged = StagedChangelogs(blobs, trees)
        self._psql = PsqlPlanner(LocalFiles(digests), blobs, trees, home)
        self._liquibase = LiquibasePlanner(changelogs, digests, config, staged)

    def draft(self, request: PrepareRequest, configured: Configured) -> Draft:
        """Read a request's arguments and what they lead to.

        Raises InvalidArgument, SourceInputsMissing.
        """
        if request.lacks_work_dir:
            raise InvalidArgument(
                "work_dir is not a directory that the engine can enter: name one that is",
                request.work_dir,
            )
        planner = self._psql if request.prepare_kind == "psql" else self._liquibase
        return planner.draft(request, configured)

    def stop(self) -> None:
        """End the processes that wait for the next plan."""
        self._liquibase.stop()
