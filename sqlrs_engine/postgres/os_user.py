"""The operating system user that servers run as when the engine is root.

PostgreSQL refuses to run as root.
"""

import os
import pwd
from dataclasses import dataclass

from ..errors import InvalidArgument

_CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class OsUser:
    """A user by name, with its user id and the id of its primary group."""

    name: str
    uid: int
    gid: int

    @classmethod
    def for_engine(cls, configured: str | None) -> "OsUser | None":
        """Return who runs the servers: None for the engine's own user, unless it is root.

        Raises InvalidArgument when the configured user does not exist or is root.
        """
        if os.geteuid() != 0:
            return None
        if configured is not None:
            return _configured(configured)
        for name in _CANDIDATES:
            user = _find(name)
            if user is not None:
                return user
        raise InvalidArgument(
            "as root the engine needs an ordinary user to run PostgreSQL as: "
            "set postgres.osUser to one",
            f"none of {', '.join(_CANDIDATES)} exists",
        )


def check_os_user(name: str | None) -> None:
    """Raise InvalidArgument when the user does not exist or is root, for whom nothing runs."""
    if name is not None:
        _configured(name)


def _configured(name: str) -> OsUser:
    user = _find(name)
    if user is None:
        raise InvalidArgument("postgres.osUser names a user that does not exist", name)
    if user.uid == 0:
        raise InvalidArgument("postgres.osUser must not be root: PostgreSQL refuses it", name)
    return user


def _find(name: str) -> OsUser | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return OsUser(name, entry.pw_uid, entry.pw_gid)
