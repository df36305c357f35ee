"""Plans of commands: each is one step."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.file_reads import FileDigests
from sqlrs_engine.prepare.plan import Planning, StageDraft, StagePlan
from sqlrs_engine.prepare.stages import CommandStage
from sqlrs_engine.states import state_ids
from sqlrs_engine.store.records import Json

from .environment import Environment
from .inputs import InputFiles, Inputs
from .program import Program, Programs
from .step import CommandStep, origin, recipe, summary
from .text import check_text
from .version import Versions

_TRACED = "the command runs to show which files it opens"


class CommandPlanner:
    """Makes the plans of commands; remembers what it has read."""

    def __init__(self, digests: FileDigests) -> None:
        self._inputs = InputFiles(digests)
        self._programs = Programs()
        self._versions = Versions()

    def draft(self, stage: CommandStage) -> "CommandDraft":
        """Check a stage, find its program and read its inputs.

        Raises InvalidArgument, ProgramUnavailable.
        """
        if stage.inputs is None:
            raise InvalidArgument(
                "a command stage needs inputs: patterns of the files that it reads, such as "
                "migrations/**",
                "with [] only argv, env and the program count",
            )
        for text in (*stage.argv, *stage.version_command):
            check_text(text)
        environment = Environment.of(stage.env, stage.base_env)
        work_dir = Path(stage.work_dir or "")
        find_program = partial(self._programs.find, stage.argv[0], environment.path, work_dir)
        read_inputs = partial(self._inputs.read, work_dir, stage.inputs)
        return CommandDraft(
            normalized=summary(stage.argv),
            root=str(work_dir),
            stage=stage,
            work_dir=work_dir,
            environment=environment,
            program=find_program(),
            find_program=find_program,
            inputs=read_inputs(),
            read_inputs=read_inputs,
            versions=self._versions,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandDraft(StageDraft):
    """A command whose inputs were read."""

    stage: CommandStage
    work_dir: Path
    environment: Environment
    program: Program
    find_program: Callable[[], Program]
    inputs: Inputs
    read_inputs: Callable[[], Inputs]
    versions: Versions

    def holds(self) -> bool:
        """Return whether the program and the inputs are the same as before."""
        return self.program.read.unchanged() and self.inputs.unchanged()

    def plan(self, parent: str | None, planning: Planning) -> StagePlan:
        """Return the plan on a parent; this may run ``version_command``."""
        argv = self.stage.argv
        counted = recipe(
            argv, self.inputs, self._identity(planning), self.environment, planning.settings
        )
        if self.stage.trace_inputs:
            counted["nonce"] = secrets.token_hex(16)
        task_hash = state_ids.step_hash(counted)
        step = CommandStep(
            parent_state_id=parent,
            state_id=planning.state_id(parent, CommandStep.kind, task_hash),
            task_hash=task_hash,
            files=(self.program.read, *self.inputs.reads),
            volatile=_TRACED if self.stage.trace_inputs else None,
            traced=self.stage.trace_inputs,
            recipe=counted | origin(argv, self.inputs) | planning.first_recipe(parent),
            argv=argv,
            program=self.program,
            find_program=self.find_program,
            work_dir=self.work_dir,
            environment=self.environment,
            inputs=self.inputs,
            read_inputs=self.read_inputs,
        )
        return StagePlan(steps=(step,))

    def _identity(self, planning: Planning) -> Json:
        """Return what identifies the program."""
        command = self.stage.version_command
        if not command:
            return {"digest": self.program.digest}
        version = self.versions.of(
            command,
            self.work_dir,
            self.environment,
            self.program.path,
            planning.context.cancellation,
        )
        planning.context.log(f"version of {self.stage.argv[0]}: {version.splitlines()[0]}")
        return {"version": version}
