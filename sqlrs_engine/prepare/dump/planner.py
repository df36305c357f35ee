"""Drafts the plans of dumps."""

import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from sqlrs_engine.errors import DumpMissing
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.stages import DumpStage

from .digests import DumpDigests
from .draft import DumpDraft
from .files import DumpFile, inspect, look_from_json, look_to_json
from .memory import Memory
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
        memory: Memory,
        installed: Callable[[], Sequence[Distribution]],
        *,
        kept: KeptDumps,
    ) -> None:
        """``memory`` is what is known about dumps, ``kept`` finds those that the store keeps.

        ``installed`` returns the distributions of this machine, best first.
        """
        self._kept = kept
        self._memory = memory
        self._digests = DumpDigests(memory)
        self._tools = Tools(installed)

    def draft(self, stage: DumpStage) -> DumpDraft:
        """Look at the beginning and the end of a dump.

        Raises InvalidArgument, DumpUnusable, DumpMissing.
        """
        options = RestoreOptions.parse(stage.restore_args)
        if stage.dump_id is None:
            find = None
            dump = inspect(Path(stage.path or ""))
            name, shown = dump.path.name, str(dump.path)
        else:
            find = partial(self._kept.path, stage.dump_id)
            dump = self._look_at_kept(stage.dump_id)
            name, shown = f"dump {stage.dump_id[:_ID_DIGITS]}", stage.dump_id
        if dump.header is None:
            options.check_plain()
        return DumpDraft(
            normalized=shlex.join([shown, *options.arguments()]),
            files=dump.files,
            dump=dump,
            dump_id=stage.dump_id,
            find=find,
            name=name,
            options=options,
            create_roles=stage.create_roles,
            digests=self._digests,
            tools=self._tools,
        )

    def _look_at_kept(self, dump_id: str) -> DumpFile:
        """Return a kept dump, or what is known of it: its state may outlive its file."""
        try:
            dump = inspect(self._kept.path(dump_id))
        except DumpMissing:
            known = self._memory.get(dump_id)
            if known is None:
                raise
            return look_from_json(known)
        self._memory.put(dump_id, look_to_json(dump))
        return dump
