"""The initialisation of a cluster: ``initdb``, then the engine's own configuration."""

import logging
import os
import subprocess
from pathlib import Path

from sqlrs_engine.errors import ClusterFailed
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.processes.output import Lines, OnLine
from sqlrs_engine.processes.program import Program

from .launcher import Launcher
from .os_user import OsUser
from .settings import HBA, configuration, initdb_arguments, locales
from .user_name import NO_NAME, UserName, user_name

_BAD_LOCALE = "invalid locale name"
_TAIL_LINES = 20
# True but irrelevant: the engine knows when states have reached the disk.
_NOT_SHOWN = ("Sync to disk skipped.", "The data directory might become corrupt")

_log = logging.getLogger(__name__)


def initialise(
    launcher: Launcher, data_dir: Path, major: int, os_user: OsUser | None, on_line: OnLine
) -> None:
    """Run ``initdb`` and write the configuration; see ``Cluster.initdb``."""
    # initdb requires a name of its user, the server does not.
    maker = os_user and os_user.with_name()
    _make_data_dir(data_dir, maker)
    lines = _with_best_locale(launcher, data_dir, major, on_line, UserName())
    if any(NO_NAME in line for line in lines):
        with user_name() as name:
            lines = _with_best_locale(launcher, data_dir, major, on_line, name)
    if lines:
        raise ClusterFailed(
            "initdb failed: its output has the cause", "\n".join(lines[-_TAIL_LINES:])
        )
    _write(data_dir / "postgresql.conf", configuration(major), os.O_APPEND)
    _write(data_dir / "pg_hba.conf", HBA, os.O_TRUNC)
    if os_user is not None and maker is not None and os_user != maker:
        _hand_over(data_dir, maker, os_user)


def _with_best_locale(
    launcher: Launcher, data_dir: Path, major: int, on_line: OnLine, name: UserName
) -> list[str]:
    """Run ``initdb`` with the best locale there is; return the lines of a failing one."""
    for locale in locales(major):
        lines: list[str] = []
        arguments = initdb_arguments(major, locale)
        if _run(launcher, data_dir, arguments, lines, on_line, name) == 0:
            return []
        if not any(_BAD_LOCALE in line for line in lines):
            return lines or ["it printed nothing"]
        _log.info("the C library has no locale %s", locale)
    raise ClusterFailed(
        "initdb knows none of these locales: install one of them", ", ".join(locales(major))
    )


def _write(path: Path, text: str, how: int) -> None:
    """Write to a file that ``initdb`` made, without following a link in its place."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | how), "w", encoding="utf-8") as file:
        file.write(text)


def _hand_over(data_dir: Path, before: OsUser, after: OsUser) -> None:
    """Make ``after`` the owner of everything that belonged to ``before``, and only of that.

    Works by descriptors, so that no link that the other user's processes create is followed.
    """
    try:
        for _, directories, files, place in os.fwalk(data_dir):
            os.fchown(place, after.uid, after.gid)
            for name in (*directories, *files):
                if os.stat(name, dir_fd=place, follow_symlinks=False).st_uid == before.uid:
                    os.chown(name, after.uid, after.gid, dir_fd=place, follow_symlinks=False)
    except OSError as error:
        raise ClusterFailed(
            "cannot give the data directory to the user of PostgreSQL: check postgres.osUser",
            str(error),
        ) from error


def _make_data_dir(data_dir: Path, os_user: OsUser | None) -> None:
    try:
        data_dir.mkdir(mode=0o700, exist_ok=True)
        if os_user is not None:
            os.chown(data_dir, os_user.uid, os_user.gid)
    except OSError as error:
        raise ClusterFailed(
            "cannot create the data directory: check the permissions and the free space of "
            "the state store",
            str(error),
        ) from error


def _run(
    launcher: Launcher,
    data_dir: Path,
    arguments: list[str],
    lines: list[str],
    on_line: OnLine,
    name: UserName,
) -> int:
    """Run ``initdb`` and return its exit code; all that it prints is added to ``lines``."""

    def on_output(line: str) -> None:
        # Clients on other machines need not see the engine's directories.
        line = line.rstrip().replace(str(data_dir), data_dir.name)
        lines.append(line)
        if line and not line.startswith(_NOT_SHOWN) and NO_NAME not in line:
            on_line(line)

    process = launcher.server("initdb", arguments, output=subprocess.PIPE, user_name=name)
    return Program(process).follow({"stdout": Lines(on_output)}, Cancellation())
