"""Paths on a client's machine, as text: they identify files and are never opened here.

The beginning of a path shows whether it is a POSIX or a Windows path. *Keys* are paths relative to
the client's workspace, with slashes and without ``.`` and ``..``; ``.`` alone is the workspace.
"""

import ntpath
import posixpath
import re

from sqlrs_engine.errors import InvalidArgument

ROOT = "."

_MAX_KEY = 2000
_MAX_DEPTH = 128
_MAX_NAME = 255  # bytes: the limit for the name of a staged file
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|[\\/]{2}[^\\/]+[\\/]+[^\\/]+")
_DRIVE = re.compile(r"[A-Za-z]:")


def is_absolute(path: str) -> bool:
    """Return whether a path is absolute in the POSIX or the Windows syntax."""
    return path.startswith("/") or _WINDOWS.match(path) is not None


def key_in(root: str, path: str) -> str:
    """Return the key of an absolute path in a workspace.

    Raises InvalidArgument when the path is outside the workspace or in the other syntax.
    """
    base, full = normal(root), normal(path)
    fold = ntpath.normcase if _is_windows(root) else str
    inside = fold(full) == fold(base) or fold(full).startswith(
        fold(base).rstrip("/\\") + _slash(root)
    )
    if not inside or _is_windows(root) != _is_windows(path):
        raise InvalidArgument(
            "the file is outside the workspace: move it inside", f"{path} is not in {root}"
        )
    rest = full[len(base) :]
    if _is_windows(root):
        rest = rest.replace("\\", "/")
    return key(rest.strip("/") or ROOT)


def key(text: str) -> str:
    """Return a key as the client sent it. Raises InvalidArgument when it is not a valid key."""
    if text == ROOT:
        return text
    if len(text) > _MAX_KEY or text.count("/") >= _MAX_DEPTH:
        raise InvalidArgument(
            "invalid path in source_manifest",
            f"{text[:200]}… is too long: at most {_MAX_KEY} characters and {_MAX_DEPTH} names",
        )
    names = text.split("/")
    if (
        any(name in ("", ".", "..") for name in names)
        or "\\" in text
        or "\0" in text
        or _DRIVE.match(text)
    ):
        raise InvalidArgument(
            "invalid path in source_manifest",
            f"{text[:200]!r}: write it relative to the workspace, with slashes, without . and ..",
        )
    if any(len(name.encode()) > _MAX_NAME for name in names):
        raise InvalidArgument("invalid path in source_manifest", f"{text[:200]}… is too long")
    return text


def parent(of: str) -> str:
    """Return the key of the directory that contains a key."""
    return of.rpartition("/")[0] or ROOT


def _is_windows(path: str) -> bool:
    return _WINDOWS.match(path) is not None


def _slash(root: str) -> str:
    return "\\" if _is_windows(root) else "/"


def normal(path: str) -> str:
    """Return an absolute path without ``.``, ``..`` and repeated separators."""
    if _is_windows(path):
        return ntpath.normpath(path)
    return posixpath.normpath("/" + path.lstrip("/"))
