"""Steps of psql scripts: each is one run of psql."""

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.plan import Site, Step
from sqlrs_engine.store.records import Json

from . import runner
from .arguments import StepArguments
from .staged_files import StagedFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class PsqlStep(Step):
    """One run of psql, in ``directory``; ``stdin`` is what ``-f -`` reads.

    ``home`` is its ``$HOME``, None for that of the engine's user. ``after_programs`` are the
    files that programs may have written before they are read, with the names to know them
    by; those that they do write end up in ``generated``.
    """

    arguments: StepArguments
    directory: Path | None
    stdin: str | None = None
    home: str | None = None
    after_programs: Mapping[Path, str] = field(default_factory=dict)
    generated: set[str] = field(default_factory=set)

    def rewrote(self, changed: Collection[Path]) -> bool:
        """Return whether programs of the script may have changed these files, and remember them."""
        if not self.after_programs.keys() >= set(changed):
            return False
        self.generated.update(self.after_programs[path] for path in changed)
        return True

    def task(self) -> Json:
        """Return what its task tells of it."""
        return {"args_summary": self.arguments.summary()}

    def run(self, site: Site, context: JobContext) -> None:
        """Run psql over the cluster's socket."""
        self._run(site, context, self.arguments, self.directory, str)

    def _run(
        self,
        site: Site,
        context: JobContext,
        arguments: StepArguments,
        directory: Path | None,
        told: Callable[[str], str],
    ) -> None:
        context.log("psql: start")
        with ExitStack() as cleanup:
            if directory is None:
                # Where a relative path of an option (-o x) leads, instead of to the engine's.
                scratch = TemporaryDirectory(
                    prefix="scratch-", dir=site.container, ignore_cleanup_errors=True
                )
                directory = Path(cleanup.enter_context(scratch))
            script = runner.Script(arguments.command_line(), directory, self.stdin, self.home, told)
            runner.run(
                site.cluster,
                script,
                context.cancellation,
                lambda line: context.log(f"psql: {line}"),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedStep(PsqlStep):
    """One run of psql on a client's files, as they are laid out here."""

    staged: StagedFiles

    @property
    def changed_files(self) -> list[Path]:
        """The files that are not what the client has sent any more."""
        return self.staged.changed(self.files)

    def run(self, site: Site, context: JobContext) -> None:
        """Run psql where the files are laid out."""
        arguments, directory = self.staged.place(self.arguments, self.directory)
        self._run(site, context, arguments, directory, self.staged.told)
