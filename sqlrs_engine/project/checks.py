"""What can be wrong with a project file outside of it: arguments, files, programs."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlrs_engine.errors import EngineError, InvalidArgument, ProjectFileInvalid

from .database import Stage, own_stages
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
    from sqlrs_engine.postgres.distributions.image_names import parse_image

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
        check = {
            "psql": self._psql,
            "liquibase": self._liquibase,
            "dump": self._dump,
            "command": self._command,
        }[self.stage.kind]
        try:
            yield from check(work_dir)
        except EngineError as error:
            yield self._problem(self.stage.kind, str(error))

    def _psql(self, work_dir: Path) -> Iterator[Problem]:
        from sqlrs_engine.prepare.psql.options import parse

        for option in parse(self.stage.table["psql"]):
            if option.letter == "f" and option.value == "-":
                yield self._problem("psql", "-f -: stages have no standard input; name a file")
            elif option.letter == "f":
                yield from self._unreadable("psql", work_dir / (option.value or ""))

    def _liquibase(self, work_dir: Path) -> Iterator[Problem]:
        from sqlrs_engine.prepare.liquibase.arguments import LiquibaseArguments

        program = self.stage.table.get("exec")
        if program is not None and self._found(program, self.directory) is None:
            yield self._problem("exec", f"there is no program {program}")
        LiquibaseArguments.parse(self.stage.table["liquibase"], str(work_dir))

    def _dump(self, _work_dir: Path) -> Iterator[Problem]:
        yield from self._unreadable("dump", self.directory / self.stage.table["dump"])

    def _command(self, work_dir: Path) -> Iterator[Problem]:
        program = self.stage.table["command"][0]
        if self._found(program, work_dir) is None:
            yield self._problem("command", f"there is no program {program}")

    def _found(self, program: str, directory: Path) -> str | None:
        """Return the path of a program: one on the PATH, or below a directory."""
        if os.sep in program:
            return shutil.which(directory / program)
        return shutil.which(program, path=self.environ.get("PATH", os.defpath))

    def _unreadable(self, key: str, file: Path) -> Iterator[Problem]:
        if not file.exists():
            yield self._problem(key, f"there is no file {file}")
        elif not os.access(file, os.R_OK):
            yield self._problem(key, f"you cannot read {file}")

    def _problem(self, key: str, reason: str) -> Problem:
        return Problem((*self.stage.keys, key), reason)
