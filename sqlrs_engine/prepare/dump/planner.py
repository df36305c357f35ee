"""Drafts the plans of dumps."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.stages import DumpStage

from .digests import DumpDigests
from .draft import DumpDraft
from .files import inspect
from .options import RestoreOptions
from .tools import Tools

_ID_DIGITS = 12


class KeptDumps(Protocol):
    """Finds the files of kept dumps."""

    def path(self, dump_id: str) -> Path:
        """Return the file of a kept dump, whose SHA-256 is ``dump_id``. Raises DumpMissing."""


class DumpPlanner:
    """Looks at dumps; remembers their digests."""

    def __init__(
        self,
        memory: Path,
        installed: Callable[[], Sequence[Distribution]],
        *,
        kept: KeptDumps,
    ) -> None:
        """``memory`` is the file that keeps the digests, ``kept`` finds the store's own dumps.

        ``installed`` returns the distributions of this machine, best first.
        """
        self._kept = kept
        self._digests = DumpDigests(memory)
        self._tools = Tools(installed)

    def draft(self, stage: DumpStage) -> DumpDraft:
        """Look at the beginning and the end of a dump.

        Raises InvalidArgument, DumpUnusable, DumpMissing.
        """
        options = RestoreOptions.parse(stage.restore_args)
        if stage.dump_id is None:
            path = Path(stage.path or "")
            name, shown = path.name, str(path)
        else:
            path = self._kept.path(stage.dump_id)
            name, shown = f"dump {stage.dump_id[:_ID_DIGITS]}", stage.dump_id
        dump = inspect(path)
        if dump.header is None:
            options.check_plain()
        return DumpDraft(
            normalized=shlex.join([shown, *options.arguments()]),
            files=dump.files,
            dump=dump,
            dump_id=stage.dump_id,
            name=name,
            options=options,
            create_roles=stage.create_roles,
            digests=self._digests,
            tools=self._tools,
        )
