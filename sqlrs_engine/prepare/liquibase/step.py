"""A changeset as a step, and the state that it makes.

The effect of a changeset depends on more than its checksum, which leaves white space,
preconditions and much else out. So all of it is hashed: the changeset as Liquibase has read it,
the files that it reads, the parameters that it may use, and what the database records of it,
its path included. What counts for all changesets is part of the first.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlrs_engine.postgres.settings import SUPERUSER
from sqlrs_engine.prepare.file_reads import FileRead
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.plan import Planning
from sqlrs_engine.prepare.stages import LiquibaseStage
from sqlrs_engine.prepare.step import Site, Step
from sqlrs_engine.states import state_ids
from sqlrs_engine.store.records import Json

from .changelog import Changelog, Changeset
from .reader import Reader

# Beside the data directory of a state: the settings that its database session left.
SETTINGS_FILE = "session-settings.json"

_NO_CHANGESETS = "no changesets"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangesetStep(Step):
    """The ``index``-th changeset that runs; without one, Liquibase's own tables only.

    ``first_parent`` is the state before the stage, None for the base state.
    """

    kind = LiquibaseStage.kind
    tcp = True

    changeset: Changeset | None
    index: int | None
    reader: Reader
    first_parent: str | None

    @property
    def source_state_id(self) -> str | None:
        """The state that is cloned: that before the stage if its changesets all run again."""
        return self.first_parent if self.reader.starts_over else self.parent_state_id

    def task(self) -> Json:
        """Return the fields of its task that describe it."""
        if self.changeset is None:
            return {"args_summary": _NO_CHANGESETS}
        return {
            "args_summary": self.changeset.name,
            "changeset_id": self.changeset.id,
            "changeset_author": self.changeset.author,
            "changeset_path": self.changeset.path,
        }

    def run(self, site: Site, context: JobContext) -> None:
        """Have Liquibase apply the changeset over TCP."""
        context.log(f"liquibase: start {_name(self.changeset)}")
        url = f"jdbc:postgresql://127.0.0.1:{site.port}/postgres"
        # What an earlier stage left is not this session's.
        settings = site.parent / SETTINGS_FILE if self.index else None
        self.reader.apply(
            self.index,
            self.changeset,
            (url, SUPERUSER, site.password),
            json.loads(settings.read_text()) if settings and settings.exists() else {},
            context,
        )

    def continues(self, previous: Step) -> bool:
        """Return whether the changeset before is of the same session."""
        return isinstance(previous, ChangesetStep) and previous.reader is self.reader

    def settle(self, site: Site, context: JobContext) -> None:
        """End the database session, and keep the settings that it leaves."""
        left = self.reader.leave(context)
        (site.container / SETTINGS_FILE).write_text(json.dumps(left))


def changeset_steps(
    changelog: Changelog,
    files: tuple[FileRead, ...],
    reader: Reader,
    parent: str | None,
    planning: Planning,
    shown: Callable[[str], str],
) -> Iterator[ChangesetStep]:
    """Yield the steps of a changelog; one without changesets makes Liquibase's tables.

    ``shown`` turns a path into the one that users know.
    """
    first_parent = parent
    for index, changeset in enumerate(changelog.changesets or (None,)):
        recipe = _recipe(changeset, changelog if index == 0 else None, planning.settings)
        task_hash = state_ids.step_hash(recipe)
        state_id = planning.state_id(parent, ChangesetStep.kind, task_hash)
        yield ChangesetStep(
            parent_state_id=parent,
            state_id=state_id,
            task_hash=task_hash,
            files=files,
            volatile=None,
            recipe=recipe | _origin(changeset, shown) | planning.first_recipe(parent),
            changeset=changeset,
            index=None if changeset is None else index,
            reader=reader,
            first_parent=first_parent,
        )
        parent = state_id


def _recipe(
    changeset: Changeset | None, changelog: Changelog | None, settings: Mapping[str, Any]
) -> Json:
    """Return all that can change the effect of a changeset, as JSON.

    ``changelog`` is given with the first changeset only: it counts for all that follow.
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


def _origin(changeset: Changeset | None, shown: Callable[[str], str]) -> Json:
    """Return the part of a recipe that does not count in an id: where the step comes from."""
    if changeset is None:
        return {"source": "changeset", "summary": _NO_CHANGESETS, "files": []}
    return {
        "source": "changeset",
        "summary": changeset.name,
        "text": state_ids.step_hash(dict(changeset.fields)),
        "files": [{"path": shown(path), "digest": each} for path, each in changeset.files.items()],
    }


def _name(changeset: Changeset | None) -> str:
    return changeset.name if changeset else _NO_CHANGESETS
