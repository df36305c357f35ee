"""Plans of psql scripts: each ``-f`` and each ``-c`` is a step."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlrs_engine.prepare.plan import Planning, StageDraft, StagePlan
from sqlrs_engine.states import state_ids
from sqlrs_engine.store.records import Json

from .arguments import StepArguments
from .input_digest import InputDigest
from .interpreter.session import SessionStart
from .staged_files import StagedFiles
from .step import PsqlStep, StagedStep
from .unnamed_reads import UnnamedReads

_SUMMARY_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDraft:
    """The arguments and the working directory of a step, and the digest of what it reads.

    ``unnamed`` are the files that only psql knows. ``place`` is the working directory relative to
    the script's, None if it makes no difference.
    """

    arguments: StepArguments
    directory: Path | None
    digest: InputDigest
    unnamed: UnnamedReads
    place: str | None = None

    def not_reusable(self) -> "StepDraft":
        """Return a step that has to write its files again, because a later one may read them."""
        if self.digest.volatile or not self.digest.writes:
            return self
        reason = "it writes files that a later step may read"
        return replace(self, digest=replace(self.digest, volatile=reason))


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedPlan(StagePlan):
    """A plan of scripts on another machine."""

    staged: StagedFiles

    def close(self) -> None:
        """Remove the client's files from this machine."""
        self.staged.remove()


@dataclass(frozen=True, slots=True, kw_only=True)
class PsqlDraft(StageDraft):
    """The scripts of a stage, as they were read.

    ``stdin`` is what ``-f -`` reads. ``home`` is psql's ``$HOME``, ``generated`` are the files that
    programs of scripts were seen to write. ``stage`` returns the staged files of a client on
    another machine; it is None if the scripts are on this one.
    """

    steps: tuple[StepDraft, ...]
    stdin: str | None
    home: str | None
    generated: set[str]
    stage: Callable[[], StagedFiles] | None = None

    @property
    def next_start(self) -> SessionStart:
        """How the session of a later stage begins."""
        return self.steps[-1].digest.next_start

    @property
    def uses_earlier(self) -> bool:
        """Whether a script reads what earlier ones write, perhaps those of earlier stages."""
        return any(step.digest.uses_earlier for step in self.steps)

    def holds(self) -> bool:
        """Return whether reading the scripts again would find the same.

        Files that did not exist may exist by now, and what programs write may be known by now.
        """
        if any(each.digest.looked_for_absent or each.digest.after_programs for each in self.steps):
            return False
        return StageDraft.holds(self)

    def not_reusable(self) -> "PsqlDraft":
        """Return the draft for a chain in which a later stage may read files that this writes."""
        return replace(self, steps=tuple(step.not_reusable() for step in self.steps))

    def plan(self, parent: str | None, planning: Planning) -> StagePlan:
        """Return the plan on a parent."""
        make_step: Callable[..., PsqlStep] = PsqlStep
        make_plan: Callable[..., StagePlan] = StagePlan
        if self.stage is not None:
            staged = self.stage()
            make_step = partial(StagedStep, staged=staged)
            make_plan = partial(StagedPlan, staged=staged)
        return make_plan(steps=tuple(self._steps(parent, planning, make_step)))

    def _steps(
        self, parent: str | None, planning: Planning, make_step: Callable[..., PsqlStep]
    ) -> Iterator[PsqlStep]:
        for step in self.steps:
            recipe = _recipe(step, planning.settings)
            task_hash = state_ids.step_hash(recipe)
            state_id = planning.state_id(parent, PsqlStep.kind, task_hash)
            digest = step.digest
            yield make_step(
                parent_state_id=parent,
                state_id=state_id,
                task_hash=task_hash,
                arguments=step.arguments,
                directory=step.directory,
                stdin=self.stdin if step.arguments.input.kind == "stdin" else None,
                files=digest.files,
                home=self.home,
                volatile=digest.volatile,
                notes=digest.notes,
                after_programs=digest.after_programs,
                generated=self.generated,
                session_end=digest.next_start,
                unnamed=step.unnamed,
                recipe=recipe | _origin(step) | planning.first_recipe(parent),
            )
            parent = state_id


def _recipe(step: StepDraft, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that can change what a step does, as JSON."""
    arguments, digest = step.arguments, step.digest
    recipe: dict[str, Any] = {
        # A command is a single transaction and a script is not; where a script comes from
        # makes no difference.
        "input": "script" if arguments.input.kind in ("file", "stdin") else arguments.input.kind,
        "content": digest.digest,
        "options": [list(option) for option in arguments.options],
    }
    if step.place is not None:
        recipe["directory"] = step.place
    if settings:
        recipe["settings"] = dict(settings)
    if digest.volatile:
        recipe["nonce"] = secrets.token_hex(16)
    return recipe


def _origin(step: StepDraft) -> Json:
    """Return where the inputs of a step come from: part of its recipe, but not of its id."""
    arguments, digest = step.arguments, step.digest
    origin: Json = {
        "source": arguments.input.kind,
        "summary": arguments.summary()[:_SUMMARY_CHARS],
        "files": [{"path": path, "digest": each} for path, each in digest.sources.items()],
    }
    if digest.text is not None:
        origin["text"] = digest.text
    if digest.volatile:
        origin["volatile"] = digest.volatile
    return origin
