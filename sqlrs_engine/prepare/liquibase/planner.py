"""Plans of changelogs: each changeset that Liquibase would run on a new database is a step."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from sqlrs_engine.config import Config
from sqlrs_engine.errors import InvalidArgument, NotImplementedYet
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.file_reads import FileDigests
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.plan import Configured, Draft, Plan
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.sources import Manifest
from sqlrs_engine.states import state_ids

from . import installation
from .arguments import LiquibaseArguments
from .changelog_cache import ChangelogCache
from .command import Command
from .program import program_environment
from .reader import Invocation, Reader
from .remote_reader import RemoteReader
from .session import Session
from .session_pool import SessionPool
from .staged_changelogs import StagedChangelog, StagedChangelogs
from .step import KIND, changeset_steps

_TIME_ZONE = "/etc/localtime"  # Java reads it when it starts

COMMAND = "command"
"""The ``liquibase.mode`` that runs Liquibase's own program instead of a session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiquibasePlan(Plan):
    """A plan whose Liquibase may still run, to apply what it has read."""

    reader: Reader

    def close(self) -> None:
        """End Liquibase, or leave it to the next job."""
        self.reader.close()


class LiquibasePlanner:
    """Makes the plans of changelogs."""

    def __init__(
        self,
        directory: Path,
        digests: FileDigests,
        config: Config,
        staged: StagedChangelogs | None = None,
    ) -> None:
        """``directory`` is for the cache of changelogs, ``staged`` for clients' files.

        Without ``staged`` the engine prepares from its own files only.
        """
        self._staged = staged
        self._cache = ChangelogCache(directory, digests.digest)
        self._sessions = SessionPool()
        self._config = config

    def stop(self) -> None:
        """End the Liquibase process that waits for the next job."""
        self._sessions.close()

    def draft(self, request: PrepareRequest, configured: Configured) -> "LiquibaseDraft":
        """Check a request's arguments; the plan reads the changelog, which needs Liquibase.

        Raises InvalidArgument, SourceInputsMissing.
        """
        return LiquibaseDraft(
            request=request, normalized=self._check(request), configured=configured, planner=self
        )

    def _check(self, request: PrepareRequest) -> str:
        """Return a request's arguments as they are shown."""
        if request.source_manifest is None:
            return self._arguments(request, None).normalized
        staged = self._find(request, request.source_manifest)
        with staged.client_errors():
            return staged.client_text(self._arguments(staged.request, staged).normalized)

    def _find(self, request: PrepareRequest, manifest: Manifest) -> StagedChangelog:
        if self._staged is None:
            raise NotImplementedYet(
                "this engine prepares only from its own files: leave out source_manifest"
            )
        return self._staged.find(request, manifest)

    def _arguments(
        self, request: PrepareRequest, staged: StagedChangelog | None
    ) -> LiquibaseArguments:
        for name, value in (request.liquibase_env or {}).items():
            if not name or "=" in name or "\0" in f"{name}{value}":
                raise InvalidArgument(
                    "liquibase_env has an invalid variable name: correct it", name
                )
        args, work_dir = request.liquibase_args, request.work_dir
        if staged is not None:
            return LiquibaseArguments.parse(args, work_dir, staged.exists)
        return LiquibaseArguments.parse(args, work_dir)

    def plan(
        self,
        request: PrepareRequest,
        distribution: Distribution,
        configured: Configured,
        context: JobContext,
    ) -> LiquibasePlan:
        """Plan a request; close the plan after use.

        Raises as ``draft`` does, LiquibaseUnavailable, and what ``Reader.read`` does.
        """
        staged = None
        shown: Callable[[str], str] = str
        if request.source_manifest is not None:
            staged = self._find(request, request.source_manifest)
            request, shown = staged.request, staged.client_text
        try:
            if staged is not None:
                staged.stage()
            with staged.client_errors() if staged else nullcontext():
                arguments = self._arguments(request, staged)
                reader = self._reader(request, arguments, distribution, staged)
        except BaseException:
            if staged is not None:
                staged.close()
            raise
        try:
            changelog, files = reader.read(context)
        except BaseException:
            reader.close()
            raise
        base = configured.base.on(distribution)
        base_id = base.base_id(distribution.image_id)
        steps = tuple(
            changeset_steps(changelog, files, reader, (base, base_id), configured.settings, shown)
        )
        return LiquibasePlan(
            kind=KIND,
            distribution=distribution,
            base=base,
            steps=steps,
            normalized=shown(arguments.normalized),
            signature=state_ids.signature(
                KIND,
                base_id,
                (step.task_hash for step in steps),
                plan_only=request.plan_only,
            ),
            settings=configured.settings,
            reader=reader,
        )

    def _reader(
        self,
        request: PrepareRequest,
        arguments: LiquibaseArguments,
        distribution: Distribution,
        staged: StagedChangelog | None,
    ) -> Reader:
        given = request.liquibase_env or {}
        found = installation.find(
            request.liquibase_exec,
            self._config.value("liquibase.exec"),
            program_environment(given, {}),
        )
        environment = program_environment(given, found.environment)
        url = f"offline:postgresql?version={distribution.version}"
        line = [*found.session(), f"--url={url}", *arguments.words]
        defaults = arguments.defaults_file or arguments.directory / environment.get(
            "LIQUIBASE_DEFAULTS_FILE", "liquibase.properties"
        )
        command = None
        if self._config.value("liquibase.mode") == COMMAND:
            command = Command(found.plain(), environment, arguments)
        invocation = Invocation(
            key=[
                line,
                str(arguments.directory),
                environment,
                found.identity,
                os.path.realpath(_TIME_ZONE),
            ],
            start=lambda: Session(line, arguments.directory, environment),
            command=command,
            url=url,
            defaults_files=[defaults, defaults.with_suffix(f".local{defaults.suffix}")],
        )
        if staged is not None:
            return RemoteReader(invocation, self._cache, self._sessions, staged)
        return Reader(invocation, self._cache, self._sessions)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiquibaseDraft(Draft):
    """A request whose arguments were checked."""

    planner: LiquibasePlanner

    def plan(self, distribution: Distribution, context: JobContext) -> LiquibasePlan:
        """Return the plan on a distribution, by having Liquibase read the changelog."""
        return self.planner.plan(self.request, distribution, self.configured, context)
