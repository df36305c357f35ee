"""A changeset as a step, and the state that it makes.

The effect of a changeset depends on more than its checksum, which leaves white space,
preconditions and much else out. So all of it is hashed: the changeset as Liquibase has read it,
the files that it reads, the parameters that it may use, and what the database records of it,
its path included. What counts for all changesets is part of the first.
"""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlrs_engine.postgres.base_recipe import BaseRecipe
from sqlrs_engine.postgres.settings import SUPERUSER
from sqlrs_engine.prepare.file_reads import FileRead
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.plan import Site, Step, of_base
from sqlrs_engine.states import state_ids
from sqlrs_engine.store.records import Json

from .changelog import Changelog, Changeset
from .reader import Reader

KIND = "lb"

# Beside the data directory of a state: the settings that its database session left.
SETTINGS_FILE = "session-settings.json"

_NO_CHANGESETS = "no changesets"
_PASSWORD_BYTES = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangesetStep(Step):
    """The ``index``-th changeset that runs; without one, Liquibase's own tables only."""

    tcp = True

    changeset: Changeset | None
    index: int | None
    reader: Reader

    @property
    def from_base(self) -> bool:
        """Whether all changesets before it have to run again."""
        return self.reader.starts_over

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
        """Have Liquibase apply the changeset over TCP, with a password for this step alone."""
        context.log(f"liquibase: start {_name(self.changeset)}")
        # It is not passed on, and the next start of the cluster sets another.
        password = secrets.token_urlsafe(_PASSWORD_BYTES)
        site.cluster.set_password(site.port, password)
        url = f"jdbc:postgresql://127.0.0.1:{site.port}/postgres"
        settings = site.parent / SETTINGS_FILE
        left = self.reader.apply(
            self.index,
            self.changeset,
            (url, SUPERUSER, password),
            json.loads(settings.read_text()) if settings.exists() else {},
            context,
        )
        (site.container / SETTINGS_FILE).write_text(json.dumps(left))


def changeset_steps(
    changelog: Changelog,
    files: tuple[FileRead, ...],
    reader: Reader,
    base: tuple[BaseRecipe, str],
    settings: Mapping[str, Any],
    shown: Callable[[str], str],
) -> Iterator[ChangesetStep]:
    """Yield the steps of a changelog; one without changesets makes Liquibase's tables.

    ``base`` is the recipe of the base state with its id. ``settings`` are the server's, ``shown``
    turns a path into the one that users know.
    """
    recipe_of_base, base_id = base
    parent: str | None = None
    for index, changeset in enumerate(changelog.changesets or (None,)):
        recipe = _recipe(changeset, changelog if index == 0 else None, settings)
        task_hash = state_ids.step_hash(recipe)
        state_id = state_ids.state_id(parent or base_id, KIND, task_hash)
        yield ChangesetStep(
            parent_state_id=parent,
            state_id=state_id,
            task_hash=task_hash,
            files=files,
            volatile=None,
            recipe=recipe
            | _origin(changeset, shown)
            | of_base(recipe_of_base if parent is None else None),
            changeset=changeset,
            index=None if changeset is None else index,
            reader=reader,
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
