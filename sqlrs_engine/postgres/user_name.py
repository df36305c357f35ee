"""Provides a name for the engine's user if it has none, as in containers with an arbitrary user id.

``initdb`` asks the system for the name of its user and gives up when there is none
(``get_user_name`` in PostgreSQL's username.c); the server itself does not ask.
"""

import contextlib
import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlrs_engine.errors import OsUserUnknown

NO_NAME = "could not look up effective user ID"

TOOLS = "/usr/local/bin:/usr/bin:/bin"
# https://cwrap.org/nss_wrapper.html
NSS_WRAPPER = ("/usr/lib/*/libnss_wrapper.so", "/usr/lib*/libnss_wrapper.so")
_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class UserName:
    """A command prefix and environment variables that give a program's user a name."""

    prefix: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def user_name(nss_wrapper: Sequence[str] = NSS_WRAPPER, tools: str = TOOLS) -> Iterator[UserName]:
    """Yield a name for the engine's own user, valid while the block runs.

    It comes from a user namespace in which the user has another id or, where that is not allowed,
    from nss_wrapper, as in the images of PostgreSQL. ``nss_wrapper`` are patterns of the library's
    path, ``tools`` is the PATH to find ``unshare``. Raises OsUserUnknown when there is neither.
    """
    # First, as it suits the programs of images, whatever their C library.
    namespace = _namespace(tools)
    if namespace is not None:
        yield namespace
        return
    found = [path for pattern in nss_wrapper for path in glob.glob(pattern)]  # noqa: PTH207
    if not found:
        raise OsUserUnknown(
            f"the user id {os.geteuid()} has no name on this system, and initdb requires one: "
            "add it to /etc/passwd, or install libnss-wrapper",
            f"a line such as sqlrs:x:{os.geteuid()}:{os.getegid()}::/tmp:/sbin/nologin is "
            "enough; user namespaces, the other way, are not allowed here",
        )
    with tempfile.TemporaryDirectory(prefix="sqlrs-") as place:
        yield _wrapped(found[0], place)


def _wrapped(library: str, place: str) -> UserName:
    uid, gid = os.geteuid(), os.getegid()
    passwd, group = f"{place}/passwd", f"{place}/group"
    for path, line in (
        (passwd, f"sqlrs:x:{uid}:{gid}::/:/bin/false\n"),
        (group, f"sqlrs:x:{gid}:\n"),
    ):
        with open(path, "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(line)
    return UserName(
        environment={
            "LD_PRELOAD": library,
            "NSS_WRAPPER_PASSWD": passwd,
            "NSS_WRAPPER_GROUP": group,
        }
    )


def _namespace(tools: str) -> UserName | None:
    """Return a user namespace in which the user has the id of one with a name, if allowed."""
    tool = shutil.which("unshare", path=tools)
    somebody = next((each for each in pwd.getpwall() if each.pw_uid != 0), None)
    if tool is None or somebody is None:
        return None
    ids = (f"--map-user={somebody.pw_uid}", f"--map-group={somebody.pw_gid}")
    prefix = (tool, "--user", *ids, "--")
    try:
        tried = subprocess.run(
            [*prefix, "true"],
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            env={"PATH": tools},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return UserName(prefix=prefix) if tried.returncode == 0 else None
