"""The plan of a dump: one step restores it."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlrs_engine.prepare.plan import Planning, StageDraft, StagePlan
from sqlrs_engine.states import state_ids

from .digests import DumpDigests
from .files import DumpFile
from .options import RestoreOptions
from .step import KIND, RestoreStep
from .tools import Tool, Tools

_SUMMARY_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpDraft(StageDraft):
    """A dump whose beginning was read.

    ``dump_id`` is the digest of a dump that the state store keeps, and ``find`` returns its path;
    ``name`` is how the dump is shown.
    """

    dump: DumpFile
    dump_id: str | None
    find: Callable[[], Path] | None
    name: str
    options: RestoreOptions
    create_roles: bool
    digests: DumpDigests
    tools: Tools

    def plan(self, parent: str | None, planning: Planning) -> StagePlan:
        """Return the plan on a parent; a dump that has changed is read.

        Raises DumpUnusable when the dump is damaged or no program at hand restores it,
        InvalidArgument for options that the program lacks, Conflict when the dump changes
        meanwhile, and what ``context.cancellation.check`` does.
        """
        tool = self._tool(planning)
        digest = self.dump_id or self.digests.known(self.dump)
        if digest is None:
            self.dump.check()
            digest = self.digests.read(self.dump, planning.context)
        recipe: dict[str, Any] = {
            "input": KIND,
            "content": digest,
            "options": self.options.canonical(),
            "tool": tool.name,
            "create_roles": self.create_roles,
        }
        if planning.settings:
            recipe["settings"] = dict(planning.settings)
        summary = shlex.join(["restore", self.name, *self.options.arguments()])[:_SUMMARY_CHARS]
        origin = {
            "source": KIND,
            "summary": summary,
            "files": [{"path": str(self.dump.path), "digest": digest}],
        }
        task_hash = state_ids.step_hash(recipe)
        step = RestoreStep(
            parent_state_id=parent,
            state_id=planning.state_id(parent, KIND, task_hash),
            task_hash=task_hash,
            files=self.files,
            volatile=None,
            recipe=recipe | origin | planning.first_recipe(parent),
            dump=self.dump,
            find=self.find,
            tool=tool,
            options=self.options,
            create_roles=self.create_roles,
            summary=summary,
        )
        return StagePlan(steps=(step,))

    def _tool(self, planning: Planning) -> Tool:
        dump, own = self.dump, planning.distribution
        if dump.header is None:
            return self.tools.for_script(own, restricts=dump.restricts)
        tool = self.tools.for_archive(own, dump.header)
        self.options.check_version(tool.major)
        return tool
