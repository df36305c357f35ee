"""What is wrong with a project file, and where."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlrs_engine.errors import ProjectFileInvalid

Keys = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake; ``keys`` lead from the root of the file to its place."""

    keys: Keys
    reason: str

    @property
    def place(self) -> str:
        """The place as people write it; empty for the file as a whole."""
        return place(self.keys)

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}" if self.keys else self.reason


def place(keys: Keys) -> str:
    """Return keys as TOML writes them, and indices from 0 in brackets: ``database.a.stage[1]``."""
    parts = (f"[{key}]" if isinstance(key, int) else f".{_key(key)}" for key in keys)
    return "".join(parts).removeprefix(".")


def invalid(path: Path, problems: Sequence[Problem]) -> ProjectFileInvalid:
    """Return the error for a file with these problems, of which there is at least one."""
    others = len(problems) - 1
    more = f" (and {others} more: sqlrs-engine check shows them)" if others else ""
    return ProjectFileInvalid(
        f"{path.name} is not valid",
        f"{problems[0]}{more}",
        facts={
            "path": str(path),
            "problems": [{"place": each.place, "reason": each.reason} for each in problems],
        },
    )


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)
