"""Makes plans of requests, each kind by its own planner."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlrs_engine.config import Config
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.sources import Blobs, Trees

from .file_reads import FileDigests
from .job_context import JobContext
from .liquibase import LiquibasePlanner, StagedChangelogs
from .plan import Plan
from .psql.local_files import LocalFiles
from .psql.planner import PsqlPlanner
from .request import PrepareRequest


class Planner:
    """Plans psql scripts and Liquibase changelogs; what it learnt of files it remembers."""

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

        ``trees`` is where they are laid out, ``changelogs`` where changelogs are remembered,
        ``home`` the user's ``$HOME``.
        """
        digests = FileDigests()
        staged = None
        if blobs is not None and trees is not None:
            staged = StagedChangelogs(blobs, trees)
        self._psql = PsqlPlanner(LocalFiles(digests), blobs, trees, home)
        self._liquibase = LiquibasePlanner(changelogs, digests, config, staged)

    def check(self, request: PrepareRequest) -> str:
        """Return a request's arguments as they are shown, checked with what they lead to.

        Raises InvalidArgument, SourceInputsMissing.
        """
        if request.prepare_kind == "psql":
            return self._psql.check(request).normalized
        return self._liquibase.check(request)

    def plan(
        self,
        request: PrepareRequest,
        distribution: Distribution,
        settings: Mapping[str, Any],
        context: JobContext,
    ) -> Plan:
        """Plan a request; close the plan in the end.

        ``settings`` are the server's, beyond the engine's own; ``context`` hears of what takes
        long and may end it. Raises as ``check`` does, StepFailed when Liquibase cannot read
        the changelog, LiquibaseUnavailable, and what ``context.cancellation.check`` does.
        """
        if request.prepare_kind == "psql":
            return self._psql.plan(request, distribution, settings)
        return self._liquibase.plan(request, distribution, settings, context)

    def stop(self) -> None:
        """End what waits for the next job."""
        self._liquibase.stop()
