"""A project: the databases of a project file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlrs_engine.errors import InvalidArgument

from .database import Database, Table, duration, instance_name, own_stages
from .file import parse
from .problems import Problem, invalid, place
from .references import lineage, reference_problems
from .shape import nearest, shape_problems


@dataclass(frozen=True, slots=True)
class Project:
    """The databases of a file that is valid as far as the file itself can tell."""

    path: Path
    tables: Mapping[str, Table]

    @classmethod
    def load(cls, path: Path) -> "Project":
        """Read a project file. Raises ProjectFileInvalid, NotFound and OSError."""
        contents = Contents.read(path)
        if contents.problems:
            raise invalid(path, contents.problems)
        return cls(path, contents.tables)

    def database(self, name: str | None) -> Database:
        """Return a database; without a name, the only one. Raises InvalidArgument."""
        names = list(self.tables)
        if name is None and len(names) > 1:
            raise InvalidArgument(
                f"{self.path.name} has several databases: name one", ", ".join(names)
            )
        if name is None:
            name = names[0]
        if name not in self.tables:
            raise InvalidArgument(f"{self.path.name} has no database {name}", nearest(name, names))
        table = self.tables[name]
        origins = list(reversed(lineage(self.tables, name)))
        return Database(
            name=name,
            instance_name=instance_name(name, table, self.path.parent.name),
            ttl=duration(table),
            image=self.tables[origins[0]]["image"],
            image_place=place(("database", origins[0], "image")),
            stages=tuple(
                stage for each in origins for stage in own_stages(each, self.tables[each])
            ),
            file=self.path,
        )


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file contains: the databases whose shape is right, and all problems."""

    tables: Mapping[str, Table]
    problems: tuple[Problem, ...]

    @classmethod
    def read(cls, path: Path) -> "Contents":
        """Read and check a file. Raises ProjectFileInvalid if it is no TOML, NotFound, OSError."""
        content: dict[str, Any] = parse(path)
        problems = shape_problems(content)
        databases = content.get("database")
        named: dict[str, Table] = databases if isinstance(databases, dict) else {}
        misshapen = {each.keys[1] for each in problems if len(each.keys) > 1}
        tables = {name: table for name, table in named.items() if name not in misshapen}
        broken = reference_problems(tables, list(named), path.parent.name)
        return cls(tables, (*problems, *broken))
