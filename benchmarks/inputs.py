"""What is prepared: nothing, the Chinook sample database, and 1 GB of pgbench's tables."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PGBENCH_SCALE = 68
_CHINOOK_NEARBY = ROOT.parent / "shared" / "data" / "chinook" / "Chinook_PostgreSql.sql"
_OWN_DATABASE = re.compile(r"^(DROP DATABASE|CREATE DATABASE|\\c) .*$", re.MULTILINE)


@dataclass(frozen=True)
class Input:
    """What makes a database: the arguments of psql. ``name`` is what reports call it."""

    name: str
    arguments: tuple[str, ...]
    is_large: bool = False

    def request(self, image: str) -> dict[str, Any]:
        """Return the body that prepares it."""
        return {
            "prepare_kind": "psql",
            "image_id": image,
            "psql_args": [*self.arguments],
            "work_dir": str(ROOT),
        }


def chinook_file(path: Path | None) -> Path | None:
    """Find Chinook: ``path``, $SQLRS_CHINOOK or next to the checkout; None when it is not there."""
    candidate = path or Path(os.environ.get("SQLRS_CHINOOK", _CHINOOK_NEARBY))
    return candidate.resolve() if candidate.is_file() else None


def inputs(names: Sequence[str], chinook: Path | None, directory: Path) -> list[Input]:
    """Return the inputs of these names; without Chinook, one less.

    Chinook's script makes a database of that name and goes there; a copy in ``directory``
    stays where it is, so that rivals can load it into their templates.
    """
    found = {"empty": Input("empty", ("-c", "SELECT 1"))}
    if chinook is not None:
        tables = directory / "chinook.sql"
        tables.write_text(_OWN_DATABASE.sub("", chinook.read_text()))
        tables.chmod(0o644)
        found["chinook"] = Input("Chinook", ("-f", str(tables)))
    pgbench = ("-v", f"scale={PGBENCH_SCALE}", "-f", str(ROOT / "benchmarks" / "pgbench.sql"))
    found["pgbench"] = Input("pgbench 1 GB", pgbench, is_large=True)
    return [found[name] for name in names if name in found]
