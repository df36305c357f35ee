r"""Files of which only psql knows which they are, as of ``\i :name`` after ``\gset``.

The state can be used again if they were seen to be read, and if the plan can follow what they lead
to. Otherwise something may have been read elsewhere, where nobody looks.
"""

import os
from collections.abc import Callable, Collection, Container
from dataclasses import dataclass
from pathlib import Path

from sqlrs_engine.errors import InvalidArgument

from .input_digest import InputDigest


@dataclass(frozen=True, slots=True)
class UnnamedReads:
    """The commands that read them, as ``reasons`` for doubts.

    ``with_programs`` is whether the step may read more files, by programs or the server. ``follow``
    digests a script.
    """

    reasons: tuple[str, ...]
    with_programs: bool
    follow: Callable[[Path], InputDigest]

    def doubt(self, seen: Collection[str], planned: Container[str]) -> str | None:
        """Return why not all of them may have been seen; None if they were.

        ``seen`` are the files that were read and are not in the plan, ``planned`` those that are.
        """
        if not self.reasons:
            return None
        if len(seen) < len(self.reasons):
            return self.reasons[0]
        with_programs, below = self.with_programs, set()
        for path in seen:
            try:
                digest = self.follow(Path(path))
            except InvalidArgument as error:
                return f"{error.message}: {error.details}"
            if digest.volatile or digest.unnamed:
                return digest.volatile or digest.unnamed[0]
            with_programs |= bool(digest.notes)
            below |= {os.path.realpath(file.path) for file in digest.files} - {path}
        unseen = {path for path in below - set(seen) if path not in planned}
        if unseen:
            return f"{min(unseen)} is not observed"
        if len(seen) > len(self.reasons) + len(below) and not with_programs:
            return "other programs read files there, too"  # perhaps instead of this one
        return None
