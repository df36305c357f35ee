"""Access of the servers' user to data directories and programs when the engine is root.

A store below a home directory of mode 0700 is root's alone. The server gets a data directory
there as an open descriptor (``launcher``). This does not work for the programs: since version
16 they insist on resolving their own path, and find all other files by it. So programs without
access are copied, once per version, to a public place.
"""

import contextlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sqlrs_engine.errors import ClusterFailed

from .distributions.distribution import Distribution
from .distributions.extensions import extension_dir
from .distributions.unpack import open_to_all
from .os_user import OsUser

PUBLIC_ROOT = Path("/var/lib/sqlrs-engine/postgres")

_NOT_NEEDED = shutil.ignore_patterns("include", "doc", "man", "*.a", "__pycache__")
_CATALOG = "postgres.bki"

_log = logging.getLogger(__name__)


def can_enter(directory: Path, user: OsUser) -> bool:
    """Return whether the user may enter ``directory`` by its path.

    Only mode bits count: an access control list that grants more is ignored.
    """
    places = {directory.absolute(), directory.resolve()}
    return all(
        _permitted(step, user, stat.S_IXOTH) for place in places for step in (place, *place.parents)
    )


def accessible(distribution: Distribution, user: OsUser, public_root: Path) -> Distribution:
    """Return the distribution itself if the user can run it, else a copy.

    Raises ClusterFailed when it is gone or cannot be copied.
    """
    try:
        if _can_run(distribution, user):
            return distribution
    except OSError as error:
        raise ClusterFailed(
            f"the programs of PostgreSQL {distribution.version} are missing: install it again",
            str(error),
        ) from error
    if distribution.origin == "image":
        raise ClusterFailed(
            f"the user {user.name} cannot reach the images: set SQLRS_IMAGE_STORE to a directory "
            "that others may enter, or set postgres.osUser",
            str(distribution.bin_dir),
        )
    if not any((distribution.root / "share").glob(f"**/{_CATALOG}")):
        raise ClusterFailed(
            f"the user {user.name} cannot reach PostgreSQL {distribution.version}: "
            "open its directory to others, or set postgres.osUser",
            str(distribution.bin_dir),
        )
    common = Path(os.path.commonpath([distribution.root, *distribution.library_dirs]))
    home = public_root / distribution.image_id.rpartition(":")[2][:16]
    copy = replace(
        distribution,
        bin_dir=home / distribution.bin_dir.relative_to(common),
        library_dirs=tuple(home / each.relative_to(common) for each in distribution.library_dirs),
    )
    try:
        if not _is_ours(home) or _is_old(copy, distribution):
            _copy((distribution.root, *distribution.library_dirs), common, home)
        if _can_run(copy, user):
            return copy
        reason = f"{home} is closed to others"
    except OSError as error:
        reason = str(error)
    raise ClusterFailed(
        f"cannot copy PostgreSQL to where the user {user.name} can reach it: set "
        "postgres.osUser to a user that can",
        reason,
    )


def _copy(sources: Iterable[Path], common: Path, home: Path) -> None:
    _log.info("copying PostgreSQL from %s to %s", common, home)
    make_public(home.parent)
    temporary = Path(tempfile.mkdtemp(dir=home.parent, prefix=".copy-"))
    try:
        for source in sources:
            target = temporary / source.relative_to(common)
            shutil.copytree(source, target, ignore=_NOT_NEEDED, symlinks=True, dirs_exist_ok=True)
        open_to_all(temporary)
        if _is_ours(home):
            home.rename(temporary.with_name(f"{temporary.name}-old"))
        temporary.rename(home)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if not _is_ours(home):  # else another engine was faster
            raise
    shutil.rmtree(temporary.with_name(f"{temporary.name}-old"), ignore_errors=True)


def make_public(directory: Path) -> None:
    """Create a directory that all users may enter, regardless of the engine's umask."""
    for step in reversed((directory, *directory.parents)):
        with contextlib.suppress(FileExistsError):
            step.mkdir()
            step.chmod(0o755)


def _is_old(copy: Distribution, original: Distribution) -> bool:
    """Return whether the libraries or extensions of the original were mended after the copy."""
    return _last_changes(copy) != _last_changes(original)


def _last_changes(distribution: Distribution) -> list[int]:
    """Return times that a copy has in common with its original, in seconds as coarse clocks do."""
    directories = (distribution.root / "lib", extension_dir(distribution.bin_dir))
    return [int(each.stat().st_mtime) for each in directories if each is not None and each.is_dir()]


def _is_ours(directory: Path) -> bool:
    try:
        status = directory.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _can_run(distribution: Distribution, user: OsUser) -> bool:
    directories = (distribution.bin_dir, *distribution.library_dirs)
    return all(can_enter(each, user) for each in directories) and _permitted(
        distribution.bin_dir / "postgres", user, stat.S_IROTH | stat.S_IXOTH
    )


def _permitted(path: Path, user: OsUser, wanted: int) -> bool:
    """Return whether the user has the permissions ``wanted``, mode bits as of others."""
    status = path.stat()
    if status.st_uid == user.uid:
        wanted <<= 6
    elif status.st_gid == user.gid:
        wanted <<= 3
    return status.st_mode & wanted == wanted
