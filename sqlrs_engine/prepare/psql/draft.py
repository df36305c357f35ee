"""Plans of psql scripts: each ``-f`` and each ``-c`` is a step."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlrs_engine.postgres.base_recipe import BaseRecipe
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.plan import Configured, Draft, Plan, of_base
from sqlrs_engine.states import state_ids
from sqlrs_engine.store.records import Json

from .arguments import StepArguments
from .input_digest import InputDigest
from .staged_files import StagedFiles
from .step import PsqlStep, StagedStep

KIND = "psql"

_SUMMARY_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDraft:
    """The arguments and the working directory of a step, and the digest of what it reads.

    ``place`` is the working directory relative to the script's, None if it makes no difference.
    """

    arguments: StepArguments
    directory: Path | None
    digest: InputDigest
    place: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedPlan(Plan):
    """A plan of scripts on another machine."""

    staged: StagedFiles

    def close(self) -> None:
        """Remove the client's files from this machine."""
        self.staged.remove()


@dataclass(frozen=True, slots=True, kw_only=True)
class PsqlDraft(Draft):
    """The scripts of a request, as they were read.

    ``home`` is psql's ``$HOME``, ``generated`` are the files that programs of scripts were seen
    to write. ``stage`` returns the staged files of a client on another machine; it is None if the
    scripts are on this one.
    """

    steps: tuple[StepDraft, ...]
    home: str | None
    generated: set[str]
    stage: Callable[[], StagedFiles] | None = None

    def holds(self, configured: Configured) -> bool:
        """Return whether reading the scripts again would find the same.

        Files that did not exist may exist by now, and what programs write may be known by now.
        """
        if any(each.digest.looked_for_absent or each.digest.after_programs for each in self.steps):
            return False
        return Draft.holds(self, configured)

    def plan(self, distribution: Distribution, context: JobContext) -> Plan:
        """Return the plan on a distribution."""
        make_step: Callable[..., PsqlStep] = PsqlStep
        make_plan: Callable[..., Plan] = Plan
        if self.stage is not None:
            staged = self.stage()
            make_step = partial(StagedStep, staged=staged)
            make_plan = partial(StagedPlan, staged=staged)
        base = self.configured.base.on(distribution)
        base_id = base.base_id(distribution.image_id)
        steps = tuple(self._steps(base, base_id, make_step))
        return make_plan(
            kind=KIND,
            distribution=distribution,
            base=base,
            steps=steps,
            normalized=self.normalized,
            signature=state_ids.signature(
                KIND,
                base_id,
                (step.task_hash for step in steps),
                plan_only=self.request.plan_only,
            ),
            settings=self.configured.settings,
        )

    def _steps(
        self, base: BaseRecipe, base_id: str, make_step: Callable[..., PsqlStep]
    ) -> Iterator[PsqlStep]:
        parent: str | None = None
        for step in self.steps:
            recipe = _recipe(step, self.configured.settings)
            task_hash = state_ids.step_hash(recipe)
            state_id = state_ids.state_id(parent or base_id, KIND, task_hash)
            digest = step.digest
            yield make_step(
                parent_state_id=parent,
                state_id=state_id,
                task_hash=task_hash,
                arguments=step.arguments,
                directory=step.directory,
                stdin=self.request.stdin if step.arguments.input.kind == "stdin" else None,
                files=digest.files,
                home=self.home,
                volatile=digest.volatile,
                notes=digest.notes,
                after_programs=digest.after_programs,
                generated=self.generated,
                recipe=recipe | _origin(step) | of_base(base if parent is None else None),
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
