"""The settings that clusters are initialised and started with.

Instances are disposable and many: they wait for no disk and cost next to nothing when
idle. Everything that SQL can observe is PostgreSQL's default.
"""

from collections.abc import Iterator, Mapping

SUPERUSER = "sqlrs"
"""The role of the engine and of DSNs."""

BOOTSTRAP_SUPERUSER = "postgres"
"""The role that ``initdb`` makes, as on the servers that people know.

The objects of their dumps belong to it, and only to the first superuser of a cluster may their
memberships of roles be attributed without more ado (``GRANT … GRANTED BY postgres``). It has no
password, so it cannot log in by TCP.
"""

Setting = str | int | float | bool

HBA = """\
# The socket lies in this directory, which is its owner's alone. TCP takes a password.
local all all              trust
host  all all 127.0.0.1/32 scram-sha-256
host  all all ::1/128      scram-sha-256
"""

_SETTINGS: Mapping[str, Setting] = {
    # Nothing here outlives a power loss, and nothing has to.
    "fsync": False,
    "synchronous_commit": False,
    "full_page_writes": False,
    # A small, short-lived write-ahead log: it is part of every state.
    "wal_level": "minimal",
    "max_wal_senders": 0,
    "min_wal_size": "2MB",
    "max_wal_size": "64MB",
    "wal_init_zero": False,
    "wal_recycle": False,
    # Cheap when idle.
    "max_connections": 100,
    "shared_buffers": "16MB",
    "huge_pages": False,
    "max_logical_replication_workers": 0,
    "jit": False,
    "log_checkpoints": False,
}

_LOCALE_PROVIDER_MAJOR = 15
_BUILTIN_LOCALE_MAJOR = 17
_NEWER_SETTINGS: Mapping[int, Mapping[str, Setting]] = {
    # Without this, three more processes per cluster.
    18: {"io_method": "sync"},
}


def initdb_arguments(major: int, locale: str, *, builtin: bool) -> list[str]:
    """Return the arguments of ``initdb``, except the data directory.

    ``locale`` is that of the C library. With ``builtin``, databases have PostgreSQL's own C.UTF-8.
    """
    arguments = [
        f"--username={BOOTSTRAP_SUPERUSER}",
        "--encoding=UTF8",
        "--auth-local=trust",
        "--auth-host=scram-sha-256",
        "--wal-segsize=1",
        "--no-sync",
        "--no-instructions",
    ]
    # Messages stay in English: the engine reads them.
    arguments += [f"--locale={locale}", "--lc-messages=C"]
    if builtin:
        arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    elif major >= _LOCALE_PROVIDER_MAJOR:
        arguments.append("--locale-provider=libc")
    if major >= 18:
        arguments.append("--no-data-checksums")
    return arguments


def locales(major: int) -> tuple[str, ...]:
    """Return the locales to try for ``initdb`` if none is wanted, best first."""
    return ("C",) if has_builtin_locale(major) else ("C.UTF-8", "C")


def has_builtin_locale(major: int) -> bool:
    """Return whether PostgreSQL brings its own C.UTF-8, the same on all machines."""
    return major >= _BUILTIN_LOCALE_MAJOR


def configuration(major: int) -> str:
    """Return the lines to add to ``postgresql.conf``; ``ALTER SYSTEM`` takes precedence."""
    settings = dict(_SETTINGS)
    for since, newer in _NEWER_SETTINGS.items():
        if major >= since:
            settings |= newer
    lines = (f"{name} = {_quoted(text_of(value))}" for name, value in settings.items())
    return "\n# Disposable: fast rather than durable.\n" + "\n".join(lines) + "\n"


def start_arguments(port: int, *, tcp: bool, settings: Mapping[str, Setting]) -> list[str]:
    """Return the ``-c name=value`` arguments of a start, which take precedence over all else."""
    fixed: dict[str, Setting] = {
        "port": port,
        "listen_addresses": "127.0.0.1" if tcp else "",
        # Relative to the data directory: no limit on the length of its path.
        "unix_socket_directories": ".",
        "unix_socket_permissions": "0700",
        "logging_collector": False,
        "log_destination": "stderr",
    }
    # Of a setting given twice, in whatever spelling, the last counts.
    return [*_options(settings), *_options(fixed)]


def text_of(value: Setting) -> str:
    """Return a setting's value as PostgreSQL writes it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _options(settings: Mapping[str, Setting]) -> Iterator[str]:
    for name, value in settings.items():
        yield "-c"
        yield f"{name}={text_of(value)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
