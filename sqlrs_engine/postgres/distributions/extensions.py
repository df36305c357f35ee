"""The extensions of a distribution: its control files."""

from collections.abc import Iterator
from pathlib import Path

_SUFFIX = ".control"


def extension_dir(bin_dir: Path) -> Path | None:
    """Return the directory of the control files of the programs in ``bin_dir``, if there is one.

    The server finds it relative to itself in the same way.
    """
    return next((each for each in _candidates(bin_dir) if each.is_dir()), None)


def extensions_in(directory: Path | None) -> tuple[str, ...]:
    """Return the names of the extensions in a directory of control files, sorted."""
    if directory is None:
        return ()
    try:
        files = list(directory.iterdir())
    except OSError:
        return ()
    # An extension's secondary control files are named `name--version.control`.
    return tuple(
        sorted(each.stem for each in files if each.suffix == _SUFFIX and "--" not in each.stem)
    )


def _candidates(bin_dir: Path) -> Iterator[Path]:
    root = bin_dir.resolve().parent
    for share in ("share", "share/postgresql", "share/pgsql"):
        yield root / share / "extension"
    # Debian: /usr/lib/postgresql/15/bin has its data in /usr/share/postgresql/15.
    if root.parent.name == "postgresql" and root.parent.parent.name == "lib":
        yield root.parents[2] / "share" / "postgresql" / root.name / "extension"
