"""Drafts the plans of requests, each kind by its own planner."""

from contextlib import nullcontext
from pathlib import Path

from sqlrs_engine.config import Config
from sqlrs_engine.errors import InvalidArgument, NotImplementedYet
from sqlrs_engine.sources import Blobs, Trees

from .command.planner import CommandPlanner
from .draft import Draft
from .dump import DumpPlanner
from .file_reads import FileDigests
from .liquibase import LiquibasePlanner, StagedChangelogs
from .plan import Configured, StageDraft
from .psql.draft import PsqlDraft
from .psql.interpreter.session import SessionStart
from .psql.local_files import LocalFiles
from .psql.planner import PsqlPlanner
from .request import CHAIN, PrepareRequest, place
from .stages import CommandStage, DumpStage, LiquibaseStage, PsqlStage, Stage, naming


class Planner:
    """Drafts the plans of requests, stage by stage; remembers what it has read."""

    def __init__(
        self,
        blobs: Blobs | None = None,
        *,
        trees: Trees | None = None,
        changelogs: Path,
        config: Config,
        home: str | None = None,
        dumps: DumpPlanner | None = None,
    ) -> None:
        """``blobs`` are the contents that clients on other machines have uploaded.

        ``trees`` is where they are staged, ``changelogs`` the directory of remembered changelogs,
        ``home`` the user's ``$HOME``, ``dumps`` drafts the plans of dumps.
        """
        digests = FileDigests()
        staged = None
        if blobs is not None and trees is not None:
            staged = StagedChangelogs(blobs, trees)
        self._psql = PsqlPlanner(LocalFiles(digests), blobs, trees, home)
        self._commands = CommandPlanner(digests)
        self._liquibase = LiquibasePlanner(changelogs, digests, config, staged)
        self._dumps = dumps

    def draft(self, request: PrepareRequest, configured: Configured) -> Draft:
        """Read a request's arguments and what they lead to.

        Raises InvalidArgument, SourceInputsMissing, DumpUnusable,
        ProgramUnavailable.
        """
        start = SessionStart.of(configured.settings)
        drafts: list[StageDraft] = []
        for number, stage in enumerate(request.stages):
            with naming(place(number)) if request.prepare_kind == CHAIN else nullcontext():
                draft = self._stage(stage, start)
            if isinstance(draft, PsqlDraft):
                start = draft.next_start
                if draft.uses_earlier:
                    drafts = [earlier.not_reusable() for earlier in drafts]
            drafts.append(draft)
        return Draft(request=request, configured=configured, stages=tuple(drafts))

    def _stage(self, stage: Stage, start: SessionStart) -> StageDraft:
        """Draft a stage; ``start`` is how a session of psql begins in it."""
        if stage.lacks_work_dir:
            raise InvalidArgument(
                "work_dir is not a directory that the engine can enter: name one that is",
                stage.work_dir,
            )
        if isinstance(stage, PsqlStage):
            return self._psql.draft(stage, start)
        if isinstance(stage, LiquibaseStage):
            return self._liquibase.draft(stage)
        if isinstance(stage, DumpStage) and self._dumps is not None:
            return self._dumps.draft(stage)
        if isinstance(stage, CommandStage):
            return self._commands.draft(stage)
        raise NotImplementedYet(f"stages of the kind {stage.kind} cannot be prepared yet")

    def stop(self) -> None:
        """End the processes that wait for the next plan."""
        self._liquibase.stop()
