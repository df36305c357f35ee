"""Plans of changelogs: each changeset that Liquibase would run on a new database is a step.

What a changeset makes of a state depends on more than its checksum, which leaves white space,
preconditions and much else out. So all of it is hashed: the changeset as Liquibase has read it,
the files that it reads, the parameters that it may use, and what the database gets to remember
of it, its path included. What counts for all of them is part of the first.
"""

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...errors import Conflict, InvalidArgument, StepFailed
from ...postgres.distribution import Distribution
from ...postgres.settings import SUPERUSER
from ...store.records import Json
from .. import identity
from ..files import FileRead, SourceFiles
from ..plan import Plan, Site, Step
from ..request import PrepareRequest
from ..work import Work
from . import installation
from .arguments import LiquibaseArguments
from .changelog import Changelog, Changeset, path_of
from .command import Command
from .installation import Installation
from .memory import Memory
from .session import Session, session_environment
from .sessions import Sessions

KIND = "lb"

# Beside the data directory of a state: what its database session had set.
SETTINGS_FILE = "session-settings.json"

_PASSWORD_BYTES = 24
_ZONE = "/etc/localtime"  # which Java reads when it starts

COMMAND = "command"


class Settings(Protocol):
    """The part of the configuration that counts here."""

    def value(self, path: str) -> Any:
        """Return the value in force at a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangesetStep(Step):
    """One changeset, the ``index``-th that runs; None: the tables of Liquibase's own only."""

    tcp = True

    changeset: Changeset | None
    index: int | None
    reader: "Reader"

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

    def run(self, site: Site, work: Work) -> None:
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

    reader: "Reader"

    def close(self) -> None:
        """Give Liquibase up."""
        self.reader.close()


class Reader:
    """Reads one changelog and applies its changesets; Liquibase runs from when it is needed."""

    def __init__(
        self,
        key: Sequence[Any],
        start: Callable[[], Session],
        command: Command | None,
        url: str,
        beside: Sequence[Path],
        memory: Memory,
        sessions: Sessions,
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

    def read(self, work: Work) -> tuple[Changelog, tuple[FileRead, ...]]:
        """Return the changelog and its files, without Liquibase if nothing has changed.

        Raises StepFailed with Liquibase's own words, Conflict when a file changes meanwhile,
        LiquibaseUnavailable, and what ``work.control.check`` does.
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
        work: Work,
    ) -> Mapping[str, str]:
        """Apply a changeset of the changelog; return the settings left. See ``Session.apply``.

        Raises Conflict when the changelog is not what it was when it was planned.
        """
        if self._command is not None:
            count = 0 if index is None else index + 1
            name = changeset.name if changeset else "no changesets"
            self._command.update(count, connection, name, work.control, _told(work))
            return {}
        if self._session is None and self._plan(work) != self._changelog:
            raise Conflict("the changelog changed while it was prepared: prepare again")
        assert self._session is not None and self._changelog is not None  # noqa: S101, PT018
        read, left = self._session.apply(
            index, changeset, connection, settings, work.control, _told(work)
        )
        known = self._changelog.files
        unknown = [uri for uri in read if uri[:5] == "file:" and path_of(uri) not in known]
        if unknown:
            raise StepFailed(
                "a changeset reads files that are not known before it runs",
                f"{', '.join(unknown)}: give the columns of loadData their types",
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

    def _plan(self, work: Work) -> Changelog:
        self._session_key = [*self._key, self._memory.digests(self._beside)]
        self._session = self._sessions.take(self._session_key, self._start)
        work.log("liquibase: reading the changelog")
        return self._session.plan(self._url, work.control, _told(work))


class LiquibasePlanner:
    """Makes the plans of changelogs."""

    def __init__(self, directory: Path, files: SourceFiles, settings: Settings) -> None:
        """``directory`` keeps what was read."""
        self._memory = Memory(directory, files.digest)
        self._sessions = Sessions()
        self._settings = settings

    def stop(self) -> None:
        """End the Liquibase that waits for the next job."""
        self._sessions.close()

    def check(self, request: PrepareRequest) -> LiquibaseArguments:
        """Return a request's arguments. Raises InvalidArgument."""
        if request.source_manifest is not None:
            raise InvalidArgument(
                "a changelog cannot be prepared from another machine",
                "run the engine where the changelog is",
            )
        for name, value in (request.liquibase_env or {}).items():
            if not name or "=" in name or "\0" in f"{name}{value}":
                raise InvalidArgument("liquibase_env has an impossible variable", name)
        return LiquibaseArguments.parse(request.liquibase_args, request.work_dir)

    def plan(
        self,
        request: PrepareRequest,
        distribution: Distribution,
        settings: Mapping[str, Any],
        work: Work,
    ) -> LiquibasePlan:
        """Plan a request; the plan has to be closed.

        Raises InvalidArgument, LiquibaseUnavailable, and what ``Reader.read`` does.
        """
        arguments = self.check(request)
        reader = self._reader(request, arguments, distribution)
        try:
            changelog, files = reader.read(work)
        except BaseException:
            reader.close()
            raise
        steps = tuple(_steps(changelog, files, reader, distribution.image_id, settings))
        return LiquibasePlan(
            kind=KIND,
            distribution=distribution,
            steps=steps,
            normalized=arguments.normalized,
            signature=identity.signature(
                KIND,
                distribution.image_id,
                (step.task_hash for step in steps),
                plan_only=request.plan_only,
            ),
            settings=settings,
            reader=reader,
        )

    def _reader(
        self, request: PrepareRequest, arguments: LiquibaseArguments, distribution: Distribution
    ) -> Reader:
        given = request.liquibase_env or {}
        found = installation.find(
            request.liquibase_exec,
            self._settings.value("liquibase.exec"),
            session_environment(given, {}),
        )
        environment = session_environment(given, found.environment)
        url = f"offline:postgresql?version={distribution.version}"
        line = [*found.session(), f"--url={url}", *arguments.words]
        defaults = arguments.defaults_file or arguments.directory / environment.get(
            "LIQUIBASE_DEFAULTS_FILE", "liquibase.properties"
        )
        return Reader(
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
        if self._settings.value("liquibase.mode") != COMMAND:
            return None
        return Command(found.plain(), environment, arguments)


def _told(work: Work) -> Callable[[str], None]:
    return lambda line: work.log(f"liquibase: {line}")


def _steps(
    changelog: Changelog,
    files: tuple[FileRead, ...],
    reader: Reader,
    image_id: str,
    settings: Mapping[str, Any],
) -> Iterator[ChangesetStep]:
    """Yield the steps; without changesets there is one, which makes Liquibase's tables."""
    parent: str | None = None
    for index, changeset in enumerate(changelog.changesets or (None,)):
        recipe = _recipe(changeset, changelog if index == 0 else None, settings)
        task_hash = identity.step_hash(recipe)
        state_id = identity.state_id(parent or image_id, KIND, task_hash)
        yield ChangesetStep(
            parent_state_id=parent,
            state_id=state_id,
            task_hash=task_hash,
            files=files,
            volatile=None,
            recipe=recipe | _origin(changeset),
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
    recipe["content"] = identity.step_hash({"content": content})
    recipe["options"] = [["v", f"{name}={value}"] for name, value in parameters.items()]
    if settings:
        recipe["settings"] = dict(settings)
    return recipe


def _origin(changeset: Changeset | None) -> Json:
    """Return where a step comes from: what a recipe tells but an id does not."""
    if changeset is None:
        return {"source": "changeset", "summary": "no changesets", "files": []}
    return {
        "source": "changeset",
        "summary": changeset.name,
        "text": identity.step_hash(dict(changeset.fields)),
        "files": [{"path": path, "digest": each} for path, each in changeset.files.items()],
    }
