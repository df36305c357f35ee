"""What can be wrong with a project file outside of it: arguments, files, programs."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlrs_engine.errors import EngineError, InvalidArgument, ProjectFileInvalid
from sqlrs_engine.postgres.distributions.image_names import parse_image
from sqlrs_engine.prepare.command.environment import Environment
from sqlrs_engine.prepare.command.program import resolve
from sqlrs_engine.prepare.command.tree import Walk
from sqlrs_engine.prepare.dump.files import inspect
from sqlrs_engine.prepare.dump.options import RestoreOptions
from sqlrs_engine.prepare.liquibase.arguments import LiquibaseArguments
from sqlrs_engine.prepare.psql.options import STDIN, Option, parse

from .database import Stage, Table, own_stages
from .problems import Problem
from .project import Contents


def problems_of(path: Path, environ: Mapping[str, str]) -> tuple[list[Problem], list[str]]:
    """Return all problems of a project file, and the names of its databases.

    ``environ`` is the environment whose PATH has the programs. Raises NotFound and OSError.
    """
    try:
        contents = Contents.read(path)
    except ProjectFileInvalid as error:
        return [Problem((), str(error.details))], []
    problems = list(contents.problems)
    for name, table in contents.tables.items():
        problems += _image_problems(name, table.get("image"))
        for stage in own_stages(name, table):
            problems += _StageCheck(stage, path.parent, environ).problems()
    return problems, list(contents.tables)


def _image_problems(name: str, image: str | None) -> Iterator[Problem]:
    if image is not None:
        try:
            parse_image(image)
        except InvalidArgument as error:
            yield Problem(("database", name, "image"), str(error))


@dataclass(frozen=True, slots=True)
class _StageCheck:
    """The check of a stage; ``directory`` is that of the file."""

    stage: Stage
    directory: Path
    environ: Mapping[str, str]

    def problems(self) -> Iterator[Problem]:
        """Yield the problems of the stage."""
        work_dir = self.stage.work_dir(self.directory)
        if not os.path.isdir(work_dir):  # noqa: PTH112 - Path.is_dir raises in closed directories
            yield self._problem("work_dir", f"there is no directory {work_dir}")
            return
        match self.stage.kind:
            case "psql":
                yield from self._psql(work_dir)
            case "liquibase":
                yield from self._liquibase(work_dir)
            case "dump":
                yield from self._dump()
            case _:
                yield from self._command(work_dir)

    def _psql(self, work_dir: Path) -> Iterator[Problem]:
        options: list[Option] = []
        yield from self._refused("psql", lambda: options.extend(parse(self.table["psql"])))
        for option in options:
            if option.letter == "f" and option.value == STDIN:
                yield self._problem("psql", "-f -: a stage has no standard input; name a file")
            elif option.letter == "f":
                yield from self._unreadable("psql", work_dir / (option.value or ""))

    def _liquibase(self, work_dir: Path) -> Iterator[Problem]:
        program = self.stage.program(self.directory)
        path = self.environ.get("PATH", os.defpath)
        if program is not None and shutil.which(program, path=path) is None:
            yield self._problem("exec", f"there is no program {program}")
        yield from self._refused(
            "liquibase", lambda: LiquibaseArguments.parse(self.table["liquibase"], str(work_dir))
        )

    def _dump(self) -> Iterator[Problem]:
        path = self.directory / self.table["dump"]
        yield from self._refused("dump", lambda: inspect(path))
        yield from self._refused(
            "restore", lambda: RestoreOptions.parse(self.table.get("restore", []))
        )

    def _command(self, work_dir: Path) -> Iterator[Problem]:
        path = self.environ.get("PATH", os.defpath)
        for key in ("command", "version_command"):
            for program in self.table.get(key, [])[:1]:
                yield from self._refused(key, partial(resolve, program, path, work_dir))
        yield from self._refused("inputs", lambda: Walk(work_dir, self.table["inputs"]))
        yield from self._refused("env", lambda: Environment.of(self.table.get("env", {}), {}))

    @property
    def table(self) -> Table:
        """The stage as the file has it."""
        return self.stage.table

    def _refused(self, key: str, attempt: Callable[[], object]) -> Iterator[Problem]:
        """Yield the problem, at a key, that makes an attempt fail."""
        try:
            attempt()
        except (EngineError, OSError) as error:
            yield self._problem(key, str(error))

    def _unreadable(self, key: str, file: Path) -> Iterator[Problem]:
        if not file.exists():
            yield self._problem(key, f"there is no file {file}")
        elif not os.access(file, os.R_OK):
            yield self._problem(key, f"you cannot read {file}")

    def _problem(self, key: str, reason: str) -> Problem:
        return Problem((*self.stage.keys, key), reason)
