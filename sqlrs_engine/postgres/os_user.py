"""The operating system user that servers run as when the engine is root.

PostgreSQL refuses to run as root. A user that owns other data is not an alternative: SQL can run
programs as the server's user, and ``postgres`` owns the clusters of the system. Therefore servers
run as the user ``sqlrs``, if there is one, else with an unused user id.
"""

import grp
import os
import pwd
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlrs_engine.errors import InvalidArgument, OsUserUnknown

DEDICATED = "sqlrs"
MAKE_DEDICATED = f"useradd --system --no-create-home --shell /usr/sbin/nologin {DEDICATED}"

# No system gives these out: https://systemd.io/UIDS-GIDS lists them as unused.
_UNUSED = range(60706, 61184)
_NAMED = ("nobody", "daemon", "bin")

ID_MAPS = (Path("/proc/self/uid_map"), Path("/proc/self/gid_map"))
"""The user and group ids of this user namespace (user_namespaces(7))."""


@dataclass(frozen=True, slots=True)
class OsUser:
    """A user by name, with its user id and the id of its primary group.

    A user without a name is called ``uid 60706``, for example.
    """

    name: str
    uid: int
    gid: int

    @classmethod
    def for_engine(cls, configured: str | None) -> "OsUser | None":
        """Return the user that runs the servers: None, the engine's own, unless that is root.

        Raises InvalidArgument when the configured user does not exist or is root, or when
        there is no user for root to choose.
        """
        if os.geteuid() != 0:
            return None
        if configured is not None:
            return _configured(configured)
        user = _find(DEDICATED)
        if user is not None and user.uid != 0:
            return user
        for number in _UNUSED:
            if not _is_known(number) and _can_become(number):
                return cls(f"uid {number}", number, number)
        for name in _NAMED:
            user = _find(name)
            if user is not None:
                return user
        raise InvalidArgument(
            "as root, the engine needs an ordinary user for PostgreSQL: set postgres.osUser",
            f"there is no user {DEDICATED}; create it: {MAKE_DEDICATED}",
        )

    def of(self, directory: Path) -> "OsUser":
        """Return the user that runs the server of a data directory: its owner, unless root.

        Clusters that an earlier engine made for another user keep running as that user.
        """
        try:
            status = directory.stat()
        except FileNotFoundError:
            return self
        if status.st_uid in (0, self.uid):
            return self
        return OsUser(f"uid {status.st_uid}", status.st_uid, status.st_gid)

    def with_name(self) -> "OsUser":
        """Return the user itself or, if it has no name, one with a name, which ``initdb`` requires.

        Raises OsUserUnknown when there is none.
        """
        if has_name(self.uid):
            return self
        for name in (*_NAMED, *(entry.pw_name for entry in pwd.getpwall())):
            user = _find(name)
            if user is not None and user.uid != 0 and _can_become(user.uid):
                return user
        raise OsUserUnknown(
            "PostgreSQL cannot be initialised, because this system has no user but root:"
            f" create one: {MAKE_DEDICATED}",
            self.name,
        )


def check_os_user(name: str | None) -> None:
    """Raise InvalidArgument when the user does not exist or is root, which PostgreSQL refuses."""
    if name is not None:
        _configured(name)


def _configured(name: str) -> OsUser:
    user = _find(name)
    if user is None:
        raise InvalidArgument(
            "postgres.osUser names a user that does not exist: create the user, or name another",
            name,
        )
    if user.uid == 0:
        raise InvalidArgument(
            "postgres.osUser must not be root, which PostgreSQL refuses: name an ordinary user",
            name,
        )
    return user


def _find(name: str) -> OsUser | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return OsUser(name, entry.pw_uid, entry.pw_gid)


def has_name(number: int) -> bool:
    """Return whether the system knows a user with this id."""
    try:
        pwd.getpwuid(number)
    except KeyError:
        return False
    return True


def _is_known(number: int) -> bool:
    """Return whether a user or a group has this id."""
    try:
        grp.getgrgid(number)
    except KeyError:
        return has_name(number)
    return True


def _can_become(number: int) -> bool:
    """Return whether this user namespace, such as a container's, has the user and group id."""
    return all(
        any(first <= number < first + count for first, count in _spans(each)) for each in ID_MAPS
    )


def _spans(file: Path) -> Iterable[tuple[int, int]]:
    """Yield the first id and the count of each line of a map."""
    for line in file.read_text(encoding="ascii").splitlines():
        first, _, count = line.split()
        yield int(first), int(count)
