"""Steps of psql scripts: each of them runs psql once."""

from collections.abc import Callable, Collection, Container, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.stages import PsqlStage
from sqlrs_engine.prepare.step import Site, Step
from sqlrs_engine.store.records import Json

from .arguments import StepArguments
from .interpreter.session import SessionStart
from .runner import Invocation, run_psql
from .staged_files import StagedFiles
from .unnamed_reads import UnnamedReads


@dataclass(frozen=True, slots=True, kw_only=True)
class PsqlStep(Step):
    """A step that runs psql in ``directory``, or in a scratch directory if that is None.

    ``stdin`` is what ``-f -`` reads. ``home`` is ``$HOME``, None for that of the engine's user.
    ``after_programs`` are the files that are read after programs which may have written them: the
    resolved names by path. ``generated`` collects those that turn out to be written so.
    ``session_end`` has the files that psql writes and the programs that it runs, ``unnamed`` the
    reads of files that only psql knows.
    """

    kind = PsqlStage.kind

    arguments: StepArguments
    directory: Path | None
    stdin: str | None = None
    home: str | None = None
    after_programs: Mapping[Path, str] = field(default_factory=dict)
    generated: set[str] = field(default_factory=set)
    session_end: SessionStart = field(default_factory=SessionStart)
    unnamed: UnnamedReads

    def overlooked(self, seen: Collection[str], planned: Container[str]) -> str | None:
        """Return why a file that only psql knows may not have been seen."""
        return self.unnamed.doubt(seen, planned)

    def writes(self, path: str) -> bool:
        """Return whether psql writes a file, or a program does whose text names it."""
        name = Path(path).name
        return path in self.session_end.written or any(
            name in program for program in self.session_end.programs
        )

    def rewrote(self, changed: Collection[Path]) -> bool:
        """Return whether the script's programs may have changed these files, and remember them."""
        if not self.after_programs.keys() >= set(changed):
            return False
        self.generated.update(self.after_programs[path] for path in changed)
        return True

    def task(self) -> Json:
        """Return the fields of its task."""
        return {"args_summary": self.arguments.summary()}

    def run(self, site: Site, context: JobContext) -> None:
        """Run psql over the cluster's socket."""
        self._run(site, context, self.arguments, self.directory)

    def _run(
        self,
        site: Site,
        context: JobContext,
        arguments: StepArguments,
        directory: Path | None,
        edit_line: Callable[[str], str] = str,
    ) -> None:
        context.log("psql: start")
        with ExitStack() as cleanup:
            if directory is None:
                # Relative paths of options (-o x) must not lead to the engine's directory.
                scratch = TemporaryDirectory(
                    prefix="scratch-", dir=site.container, ignore_cleanup_errors=True
                )
                directory = Path(cleanup.enter_context(scratch))
            invocation = Invocation(
                arguments.command_line(), directory, self.stdin, self.home, edit_line
            )
            run_psql(
                site.cluster,
                invocation,
                context.cancellation,
                lambda line: context.log(f"psql: {line}"),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedStep(PsqlStep):
    """A step that runs psql on a client's files, which are staged on this machine."""

    staged: StagedFiles

    @property
    def changed_files(self) -> list[Path]:
        """The files that are no longer what the client sent."""
        return self.staged.changed(self.files)

    def run(self, site: Site, context: JobContext) -> None:
        """Run psql where the files are staged."""
        arguments, directory = self.staged.stage(self.arguments, self.directory)
        self._run(site, context, arguments, directory, self.staged.with_client_paths)
