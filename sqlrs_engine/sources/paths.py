"""Paths of the client's machine, as text: they identify files and are never opened here.

A path is POSIX or Windows by how it begins. *Keys* are relative to the client's workspace,
with slashes, without ``.`` and ``..``; ``.`` is the workspace itself.
"""

import ntpath
import posixpath
import re

from sqlrs_engine.errors import InvalidArgument

ROOT = "."

_MAX_KEY = 2000
_MAX_DEPTH = 128
_MAX_NAME = 255  # bytes: what a file's name may have here
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|[\\/]{2}[^\\/]+[\\/]+[^\\/]+")
_DRIVE = re.compile(r"[A-Za-z]:")


def is_absolute(path: str) -> bool:
    """Return whether a path is absolute in either syntax."""
    return path.startswith("/") or _WINDOWS.match(path) is not None


def key_in(root: str, path: str) -> str:
    """Return the key of an absolute path in a workspace.

    Raises InvalidArgument when it lies outside, or is of the other syntax.
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
    """Return a key that a client has sent. Raises InvalidArgument when it is not a key."""
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
    """Return the key of the directory that something is in."""
    return of.rpartition("/")[0] or ROOT


def _is_windows(path: str) -> bool:
    return _WINDOWS.match(path) is not None


def _slash(root: str) -> str:
    return "\\" if _is_windows(root) else "/"


def normal(path: str) -> str:
    """Return an absolute path without ``.``, ``..`` and doubled separators."""
    if _is_windows(path):
        return ntpath.normpath(path)
    return posixpath.normpath("/" + path.lstrip("/"))
