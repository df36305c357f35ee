"""What is prepared: the example of this repository, and Chinook where it is present."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_CHINOOK_NEARBY = ROOT.parent / "shared" / "data" / "chinook" / "Chinook_PostgreSql.sql"


@dataclass(frozen=True)
class Scripts:
    """An ordered list of SQL scripts, each of which becomes a state."""

    name: str
    files: tuple[Path, ...]

    def request(self, image: str) -> dict[str, Any]:
        """Return the body that prepares these scripts."""
        arguments = [word for file in self.files for word in ("-f", str(file))]
        return {
            "prepare_kind": "psql",
            "image_id": image,
            "psql_args": arguments,
            "work_dir": str(ROOT),
        }


def bikeshare() -> Scripts:
    """The example: four scripts, 4,000 generated trips."""
    directory = ROOT / "examples" / "bikeshare"
    names = ("schema.sql", "reference.sql", "trips.sql", "views.sql")
    return Scripts("bikeshare", tuple(directory / name for name in names))


def chinook(path: Path | None) -> Scripts | None:
    """The Chinook sample database, from ``path``, $SQLRS_CHINOOK or next to the checkout."""
    candidate = path or Path(os.environ.get("SQLRS_CHINOOK", _CHINOOK_NEARBY))
    return Scripts("Chinook", (candidate.resolve(),)) if candidate.is_file() else None
