"""Plans of changelogs: each changeset that Liquibase would run on a new database is a step.

What a changeset makes of a state depends on more than its checksum, which leaves white space,
preconditions and much else out. So all of it is hashed: the changeset as Liquibase has read it,
the files that it reads, the parameters that it may use, and what the database gets to remember
of it, its path included. What counts for all of them is part of the first.
"""

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlrs_engine.config import Config
from sqlrs_engine.errors import InvalidArgument, NotImplementedYet
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.postgres.settings import SUPERUSER
from sqlrs_engine.prepare.file_reads import FileDigests, FileRead
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.plan import Plan, Site, Step
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.sources import Manifest
from sqlrs_engine.states import state_ids
from sqlrs_engine.store.records import Json

from . import installation
from .arguments import LiquibaseArguments
from .changelog import Changelog, Changeset
from .changelog_cache import ChangelogCache
from .command import Command
from .installation import Installation
from .program import program_environment
from .reader import Reader
from .remote_changelog import Workspace, Workspaces
from .remote_reader import RemoteReader
from .session import Session
from .session_pool import SessionPool

KIND = "lb"

# Beside the data directory of a state: what its database session had set.
SETTINGS_FILE = "session-settings.json"

_PASSWORD_BYTES = 24
_ZONE = "/etc/localtime"  # which Java reads when it starts

COMMAND = "command"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangesetStep(Step):
    """One changeset, the ``index``-th that runs; None: the tables of Liquibase's own only."""

    tcp = True

    changeset: Changeset | None
    index: int | None
    reader: Reader

    @property
    def from_base(self) -> bool:
        """Whether all changesets before it have to be run again."""
        return self.reader.starts_over

    def task(self) -> Json:
        """Return what its task tells of it."""
        if self.changeset is None:
            return {"args_summary": "no changesets"}
        return {
            "args_summary": self.changeset.name,
            "changeset_id": self.changeset.id,
            "changeset_author": self.changeset.author,
            "changeset_path": self.changeset.path,
        }

    def run(self, site: Site, work: JobContext) -> None:
        """Have Liquibase apply the changeset over TCP, by a password for this step alone."""
        name = self.changeset.name if self.changeset else "no changesets"
        work.log(f"liquibase: start {name}")
        # Nobody else learns it, and whoever starts the cluster next sets another.
        password = secrets.token_urlsafe(_PASSWORD_BYTES)
        site.cluster.set_password(site.port, password)
        url = f"jdbc:postgresql://127.0.0.1:{site.port}/postgres"
        settings = site.parent / SETTINGS_FILE
        left = self.reader.apply(
            self.index,
            self.changeset,
            (url, SUPERUSER, password),
            json.loads(settings.read_text()) if settings.exists() else {},
            work,
        )
        (site.container / SETTINGS_FILE).write_text(json.dumps(left))


@dataclass(frozen=True, slots=True, kw_only=True)
class LiquibasePlan(Plan):
    """A plan whose Liquibase may still run, to apply what it has read."""

    reader: Reader

    def close(self) -> None:
        """Give Liquibase up."""
        self.reader.close()


class LiquibasePlanner:
    """Makes the plans of changelogs."""

    def __init__(
        self,
        directory: Path,
        digests: FileDigests,
        config: Config,
        workspaces: Workspaces | None = None,
    ) -> None:
        """``directory`` keeps what was read, ``workspaces`` has the files of other machines."""
        self._workspaces = workspaces
        self._memory = ChangelogCache(directory, digests.digest)
        self._sessions = SessionPool()
        self._config = config

    def stop(self) -> None:
        """End the Liquibase that waits for the next job."""
        self._sessions.close()

    def check(self, request: PrepareRequest) -> str:
        """Return a request's arguments as they are shown.

        Raises InvalidArgument, SourceInputsMissing.
        """
        if request.source_manifest is None:
            return self._arguments(request).normalized
        workspace = self._workspace(request, request.source_manifest)
        try:
            with workspace.telling():
                return workspace.told(self._arguments(workspace.request).normalized)
        finally:
            workspace.close()

    def _workspace(self, request: PrepareRequest, manifest: Manifest) -> Workspace:
        if self._workspaces is None:
            raise NotImplementedYet(
                "this engine prepares only from its own files: leave out source_manifest"
            )
        return self._workspaces.open(request, manifest)

    def _arguments(self, request: PrepareRequest) -> LiquibaseArguments:
        for name, value in (request.liquibase_env or {}).items():
            if not name or "=" in name or "\0" in f"{name}{value}":
                raise InvalidArgument(
                    "liquibase_env has an invalid variable name: correct it", name
                )
        return LiquibaseArguments.parse(request.liquibase_args, request.work_dir)

    def plan(
        self,
        request: PrepareRequest,
        distribution: Distribution,
        settings: Mapping[str, Any],
        work: JobContext,
    ) -> LiquibasePlan:
        """Plan a request; the plan has to be closed.

        Raises as ``check`` does, LiquibaseUnavailable, and what ``Reader.read`` does.
        """
        workspace = None
        told: Callable[[str], str] = str
        if request.source_manifest is not None:
            workspace = self._workspace(request, request.source_manifest)
            request, told = workspace.request, workspace.told
        try:
            with workspace.telling() if workspace else nullcontext():
                arguments = self._arguments(request)
                reader = self._reader(request, arguments, distribution, workspace)
        except BaseException:
            if workspace is not None:
                workspace.close()
            raise
        try:
            changelog, files = reader.read(work)
        except BaseException:
            reader.close()
            raise
        steps = tuple(_steps(changelog, files, reader, distribution.image_id, settings, told))
        return LiquibasePlan(
            kind=KIND,
            distribution=distribution,
            steps=steps,
            normalized=told(arguments.normalized),
            signature=state_ids.signature(
                KIND,
                distribution.image_id,
                (step.task_hash for step in steps),
                plan_only=request.plan_only,
            ),
            settings=settings,
            reader=reader,
        )

    def _reader(
        self,
        request: PrepareRequest,
        arguments: LiquibaseArguments,
        distribution: Distribution,
        workspace: Workspace | None,
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
        make = partial(RemoteReader, workspace) if workspace else Reader
        return make(
            [line, str(arguments.directory), environment, found.identity, os.path.realpath(_ZONE)],
            lambda: Session(line, arguments.directory, environment),
            self._command(found, environment, arguments),
            url,
            [defaults, defaults.with_suffix(f".local{defaults.suffix}")],
            self._memory,
            self._sessions,
        )

    def _command(
        self,
        found: Installation,
        environment: Mapping[str, str],
        arguments: LiquibaseArguments,
    ) -> Command | None:
        if self._config.value("liquibase.mode") != COMMAND:
            return None
        return Command(found.plain(), environment, arguments)


def _steps(
    changelog: Changelog,
    files: tuple[FileRead, ...],
    reader: Reader,
    image_id: str,
    settings: Mapping[str, Any],
    told: Callable[[str], str],
) -> Iterator[ChangesetStep]:
    """Yield the steps; without changesets there is one, which makes Liquibase's tables."""
    parent: str | None = None
    for index, changeset in enumerate(changelog.changesets or (None,)):
        recipe = _recipe(changeset, changelog if index == 0 else None, settings)
        task_hash = state_ids.step_hash(recipe)
        state_id = state_ids.state_id(parent or image_id, KIND, task_hash)
        yield ChangesetStep(
            parent_state_id=parent,
            state_id=state_id,
            task_hash=task_hash,
            files=files,
            volatile=None,
            recipe=recipe | _origin(changeset, told),
            changeset=changeset,
            index=None if changeset is None else index,
            reader=reader,
        )
        parent = state_id


def _recipe(
    changeset: Changeset | None, changelog: Changelog | None, settings: Mapping[str, Any]
) -> Json:
    """Return all that can change what a changeset does, as JSON.

    ``changelog`` is given with the first: what it says counts for all that follow.
    """
    content: list[Any] = [changeset and [changeset.fields, list(changeset.files.values())]]
    recipe: Json = {"input": "changeset"}
    parameters = dict(changeset.parameters) if changeset else {}
    if changelog is not None:
        content.append(changelog.preconditions)
        parameters |= changelog.parameters
        settings = {**settings, **changelog.common}
    recipe["content"] = state_ids.step_hash({"content": content})
    recipe["options"] = [["v", f"{name}={value}"] for name, value in parameters.items()]
    if settings:
        recipe["settings"] = dict(settings)
    return recipe


def _origin(changeset: Changeset | None, told: Callable[[str], str]) -> Json:
    """Return where a step comes from: what a recipe tells but an id does not."""
    if changeset is None:
        return {"source": "changeset", "summary": "no changesets", "files": []}
    return {
        "source": "changeset",
        "summary": changeset.name,
        "text": state_ids.step_hash(dict(changeset.fields)),
        "files": [{"path": told(path), "digest": each} for path, each in changeset.files.items()],
    }
