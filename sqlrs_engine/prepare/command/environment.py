"""The environment of a command: the connection, what the stage declares, and nothing else.

Values of ``env`` may contain ``{DATABASE_URL}`` and the like, which stand for parts of the
connection: an application may read its database from variables of other names.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.postgres.settings import SUPERUSER
from sqlrs_engine.processes.leftovers import VARIABLE
from sqlrs_engine.store.records import Json

from .text import check_text

BASE_NAMES = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "JAVA_HOME",
    "NODE_PATH",
    "GEM_HOME",
    "GEM_PATH",
)
"""The variables of ``base_env``: where programs and their libraries are."""

_URL, _JDBC, _DATABASE = "DATABASE_URL", "SQLRS_JDBC_URL", "PGDATABASE"
_PARTS = (_URL, _JDBC, "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", _DATABASE)
_PLACEHOLDER = re.compile(f"{{({'|'.join(_PARTS)})}}")
# Of these, one leads to the server.
_WHERE = re.compile(r"\{(DATABASE_URL|PGPORT)\}")

# Whatever would lead a client elsewhere.
_RESERVED = frozenset(
    {
        *_PARTS,
        "PGHOSTADDR",
        "PGPASSFILE",
        "PGSERVICE",
        "PGSERVICEFILE",
        "PGSSLMODE",
        VARIABLE,
    }
) - {_DATABASE}

# The result must not depend on the machine's language or time zone.
_FIXED = {"LANG": "C.UTF-8", "TZ": "UTC"}
_DEFAULT_DATABASE = "postgres"
_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The variables of a command, checked: ``declared`` by the stage, over those of ``base``."""

    declared: Mapping[str, str]
    base: Mapping[str, str]

    @classmethod
    def of(cls, env: Json, base_env: Json) -> "Environment":
        """Check a stage's variables; without ``base_env`` the engine's own are the base.

        Raises InvalidArgument.
        """
        for name, value in {**base_env, **env}.items():
            if not name or "=" in name or not isinstance(value, str):
                raise InvalidArgument(
                    "a variable of the command has an invalid name, or a value that is no text: "
                    "correct it",
                    name,
                )
            check_text(f"{name}={value}")
        for name in base_env:
            if name not in BASE_NAMES:
                raise InvalidArgument(
                    "base_env cannot have this variable: set it in env, where it counts",
                    f"{name}: base_env has {', '.join(BASE_NAMES)}",
                )
        for name, value in env.items():
            if name in _RESERVED and not (name == _URL and _WHERE.search(value)):
                raise InvalidArgument(
                    "env cannot set this variable: the engine sets it to the new database",
                    f"{name}: {_ADVICE.get(name, 'remove it from env')}",
                )
        base = base_env or base_environment(os.environ)
        return cls(declared=dict(env), base={"PATH": os.defpath, **base})

    @property
    def path(self) -> str:
        """The PATH, in which the program is searched."""
        return self.declared.get("PATH", self.base["PATH"])

    @property
    def unconnected(self) -> dict[str, str]:
        """The variables without those that name a database."""
        plain = {n: v for n, v in self.declared.items() if not _PLACEHOLDER.search(v)}
        return {**self.base, **_FIXED, **plain}

    def connected(self, port: int, password: str) -> dict[str, str]:
        """Return the variables for a run on the server of a port of 127.0.0.1."""
        database = self.declared.get(_DATABASE, _DEFAULT_DATABASE)
        parts = _connection(port, password, database)

        def part(placeholder: re.Match[str]) -> str:
            return parts[placeholder[1]]

        declared = {n: _PLACEHOLDER.sub(part, value) for n, value in self.declared.items()}
        # Servers have no certificate; some clients insist on one unless they are told.
        return {**self.base, **_FIXED, **parts, "PGSSLMODE": "disable", **declared}


def base_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the ``base_env`` of a client whose environment this is."""
    return {name: environ[name] for name in BASE_NAMES if name in environ}


_ADVICE = {
    _URL: "its value must contain {DATABASE_URL} or {PGPORT}, such as "
    "postgresql+asyncpg://{PGUSER}:{PGPASSWORD}@{PGHOST}:{PGPORT}/{PGDATABASE}",
}


def _connection(port: int, password: str, database: str) -> dict[str, str]:
    from urllib.parse import quote

    name = quote(database, safe="")
    return {
        # SQLAlchemy refuses postgres://, and no client is known to refuse postgresql://.
        _URL: f"postgresql://{SUPERUSER}:{password}@{_HOST}:{port}/{name}",
        _JDBC: f"jdbc:postgresql://{_HOST}:{port}/{name}?user={SUPERUSER}&password={password}",
        "PGHOST": _HOST,
        "PGPORT": str(port),
        "PGUSER": SUPERUSER,
        "PGPASSWORD": password,
        _DATABASE: database,
    }
