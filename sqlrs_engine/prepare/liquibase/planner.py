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
from sqlrs_engine.prepare.plan import Planning, StageDraft, StagePlan
from sqlrs_engine.prepare.stages import LiquibaseStage
from sqlrs_engine.sources import Manifest

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
from .step import changeset_steps

_TIME_ZONE = "/etc/localtime"  # Java reads it when it starts

COMMAND = "command"
"""The ``liquibase.mode`` that runs Liquibase's own program instead of a session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiquibasePlan(StagePlan):
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

    def draft(self, stage: LiquibaseStage) -> "LiquibaseDraft":
        """Check a stage's arguments; the plan reads the changelog, which needs Liquibase.

        Raises InvalidArgument, SourceInputsMissing.
        """
        if stage.source_manifest is None:
            arguments = self._arguments(stage, None)
            return LiquibaseDraft(
                normalized=arguments.normalized,
                root=str(arguments.directory),
                stage=stage,
                planner=self,
            )
        staged = self._find(stage, stage.source_manifest)
        with staged.client_errors():
            normalized = staged.client_text(self._arguments(staged.local_stage, staged).normalized)
        return LiquibaseDraft(normalized=normalized, stage=stage, planner=self)

    def _find(self, stage: LiquibaseStage, manifest: Manifest) -> StagedChangelog:
        if self._staged is None:
            raise NotImplementedYet(
                "this engine prepares only from its own files: leave out source_manifest"
            )
        return self._staged.find(stage, manifest)

    def _arguments(
        self, stage: LiquibaseStage, staged: StagedChangelog | None
    ) -> LiquibaseArguments:
        for name, value in (stage.liquibase_env or {}).items():
            if not name or "=" in name or "\0" in f"{name}{value}":
                raise InvalidArgument(
                    "liquibase_env has an invalid variable name: correct it", name
                )
        args, work_dir = stage.liquibase_args, stage.work_dir
        if staged is not None:
            return LiquibaseArguments.parse(args, work_dir, staged.exists)
        return LiquibaseArguments.parse(args, work_dir)

    def plan(self, stage: LiquibaseStage, parent: str | None, planning: Planning) -> LiquibasePlan:
        """Plan a stage; close the plan after use.

        Raises as ``draft`` does, LiquibaseUnavailable, and what ``Reader.read`` does.
        """
        staged = None
        shown: Callable[[str], str] = str
        if stage.source_manifest is not None:
            staged = self._find(stage, stage.source_manifest)
            stage, shown = staged.local_stage, staged.client_text
        try:
            if staged is not None:
                staged.stage()
            with staged.client_errors() if staged else nullcontext():
                arguments = self._arguments(stage, staged)
                reader = self._reader(stage, arguments, planning.distribution, staged)
        except BaseException:
            if staged is not None:
                staged.close()
            raise
        try:
            changelog, files = reader.read(planning.context)
            steps = tuple(changeset_steps(changelog, files, reader, parent, planning, shown))
        except BaseException:
            reader.close()
            raise
        return LiquibasePlan(steps=steps, reader=reader)

    def _reader(
        self,
        stage: LiquibaseStage,
        arguments: LiquibaseArguments,
        distribution: Distribution,
        staged: StagedChangelog | None,
    ) -> Reader:
        given = stage.liquibase_env or {}
        found = installation.find(
            stage.liquibase_exec,
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
class LiquibaseDraft(StageDraft):
    """A stage whose arguments were checked."""

    stage: LiquibaseStage
    planner: LiquibasePlanner

    def plan(self, parent: str | None, planning: Planning) -> LiquibasePlan:
        """Return the plan on a parent, by having Liquibase read the changelog."""
        return self.planner.plan(self.stage, parent, planning)
