"""A database of a project file, and the request that prepares it."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlrs_engine import durations
from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.command.environment import base_environment
from sqlrs_engine.prepare.psql.options import parse

from . import environment
from .problems import Keys, Problem, invalid, place

Json = dict[str, Any]
Table = Mapping[str, Any]

KINDS = ("psql", "liquibase", "dump", "command")

_LONGEST_NAME = 63
_PLACE = re.compile(r"^stages\[([0-9]{1,4})\]")


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage as the file has it; ``keys`` lead to it."""

    kind: str
    keys: Keys
    table: Table

    def work_dir(self, directory: Path) -> Path:
        """Return the directory in which the program runs; ``directory`` is the file's."""
        below: str = self.table.get("work_dir", "")
        return directory / below

    def program(self, directory: Path) -> Path | str | None:
        """Return the path, or the name, of the Liquibase that the stage names, if it does."""
        named: str | None = self.table.get("exec")
        return named if named is None or os.sep not in named else directory / named

    def request(self, directory: Path, environ: Mapping[str, str]) -> Json:
        """Return the stage of a prepare request; ``environ`` is the client's environment.

        Raises InvalidArgument.
        """
        work_dir = str(self.work_dir(directory))
        table = self.table
        match self.kind:
            case "psql":
                options = [option.below(Path(work_dir)) for option in parse(table["psql"])]
                words = [word for option in options for word in option.arguments()]
                return {"kind": "psql", "psql_args": words, "work_dir": work_dir}
            case "liquibase":
                program = self.program(directory)
                found = environment.of_liquibase(environ, program)
                return {
                    "kind": "lb",
                    "liquibase_args": table["liquibase"],
                    "work_dir": work_dir,
                    **found,
                    "liquibase_env": {**found.get("liquibase_env", {}), **table.get("env", {})},
                }
            case "dump":
                return {
                    "kind": "dump",
                    "path": str(directory / table["dump"]),
                    "restore_args": table.get("restore", []),
                    "create_roles": table.get("create_roles", True),
                }
            case _:
                return {
                    "kind": "command",
                    "argv": table["command"],
                    "inputs": table["inputs"],
                    "env": table.get("env", {}),
                    "version_command": table.get("version_command", []),
                    "work_dir": work_dir,
                    "base_env": base_environment(environ),
                }


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A database of the project file ``file``, with the stages of those that it starts from first.

    ``ttl`` is a duration as the API takes it, None for the engine's default. ``image_place`` is
    where the file names the image.
    """

    name: str
    instance_name: str
    ttl: str | None
    image: str
    image_place: str
    stages: tuple[Stage, ...]
    file: Path

    def request(self, environ: Mapping[str, str]) -> Json:
        """Return the body of a prepare request; ``environ`` is the client's environment.

        Raises ProjectFileInvalid for arguments that psql does not have.
        """
        # A chain has at least one stage: this one leaves the cluster empty.
        empty = {"kind": "psql", "psql_args": []}
        stages = [self._request(stage, environ) for stage in self.stages]
        return {"prepare_kind": "chain", "image_id": self.image, "stages": stages or [empty]}

    def _request(self, stage: Stage, environ: Mapping[str, str]) -> Json:
        try:
            return stage.request(self.file.parent, environ)
        except InvalidArgument as error:
            raise invalid(self.file, [Problem((*stage.keys, stage.kind), str(error))]) from error

    def located(self, text: str) -> str:
        """Return a text of the engine with the places of stages in the file, not the request."""

        def in_file(found: re.Match[str]) -> str:
            number = int(found[1])
            return place(self.stages[number].keys) if number < len(self.stages) else found[0]

        return _PLACE.sub(in_file, text)


def own_stages(name: str, table: Table) -> Iterator[Stage]:
    """Yield the stages of a database's own table."""
    for number, stage in enumerate(table.get("stage", ())):
        kind = next(kind for kind in KINDS if kind in stage)
        yield Stage(kind, ("database", name, "stage", number), stage)


def instance_name(name: str, table: Table, directory_name: str) -> str:
    """Return the name of a database's instance.

    By default it begins with the name of the file's directory, so that two repositories may have
    databases of the same name. Characters that no name may have become hyphens.
    """
    given: str | None = table.get("name")
    if given is not None:
        return given
    prefix = re.sub(r"[^A-Za-z0-9._-]", "-", directory_name).lstrip("._-")
    prefix = prefix[: _LONGEST_NAME - 1 - len(name)]
    return f"{prefix}-{name}" if prefix else name


def duration(table: Table) -> str | None:
    """Return the time to live that a database's table asks for, None if it does not."""
    ttl: str | None = table.get("ttl")
    return None if ttl is None else durations.format(durations.parse(ttl))
