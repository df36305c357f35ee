"""The step that restores a dump."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlrs_engine.host.memory import ProcMemory
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.step import Site, Step
from sqlrs_engine.store.records import Json

from .advice import advised
from .archive_restore import restore_archive
from .files import DumpFile
from .loading import loading_settings
from .options import RestoreOptions
from .roles import Roles
from .script_restore import restore_as_script, restore_script
from .tools import Tool

KIND = "dump"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreStep(Step):
    """A step that restores a dump; ``create_roles`` is whether it creates roles that are missing.

    ``find`` returns the path of a dump that the state store keeps, and raises DumpMissing if it is
    gone. ``summary`` is how the step is shown.
    """

    kind = KIND
    dump: DumpFile
    find: Callable[[], Path] | None = None
    tool: Tool
    options: RestoreOptions
    create_roles: bool
    summary: str

    @property
    def server_settings(self) -> Mapping[str, Any]:
        """Those of a server that loads much at once."""
        return loading_settings(ProcMemory().machine())

    def task(self) -> Json:
        """Return the fields of its task."""
        return {"args_summary": self.summary}

    def run(self, site: Site, context: JobContext) -> None:
        """Restore with pg_restore or psql, over the cluster's socket."""
        context.log(f"{self.tool.name}: {self.summary}")
        dump = self.dump if self.find is None else replace(self.dump, path=self.find())
        roles = Roles(lambda: site.cluster.connect(None), context.log, create=self.create_roles)
        is_plain = dump.format == "plain"
        if is_plain:
            restore = restore_script
        else:
            restore = restore_as_script if self.tool.by_script else restore_archive
        with advised(self.options, is_plain=is_plain, create_roles=self.create_roles):
            restore(site.cluster, dump, self.tool, self.options, roles, context)
