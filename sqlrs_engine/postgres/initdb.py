"""The initialisation of a cluster: ``initdb``, the engine's configuration, then the roles.

The roles are created by a server in single-user mode, which takes about 10 ms.
"""

import logging
import os
import re
import stat
import subprocess
from pathlib import Path

from sqlrs_engine.errors import ClusterFailed, LocaleUnavailable
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.processes.output import Lines, OnLine
from sqlrs_engine.processes.program import Program, input_file

from .base_recipe import ALWAYS, BaseRecipe
from .launcher import Launcher, Popen
from .os_user import OsUser
from .settings import HBA, configuration, has_builtin_locale, initdb_arguments, locales
from .user_name import NO_NAME, UserName, user_name

# Of initdb: the C library has no such locale, or only in another encoding than UTF-8.
_BAD_LOCALE = re.compile("invalid locale (?:name|settings)|encoding mismatch")
_TAIL_LINES = 20
# True but irrelevant: the engine knows when states have reached the disk.
_NOT_SHOWN = ("Sync to disk skipped.", "The data directory might become corrupt")

_log = logging.getLogger(__name__)


def initialise(
    launcher: Launcher,
    data_dir: Path,
    major: int,
    recipe: BaseRecipe,
    os_user: OsUser | None,
    on_line: OnLine,
) -> None:
    """Make the cluster; see ``Cluster.initdb``."""
    # initdb requires a name of its user, the server does not.
    maker = os_user and os_user.with_name()
    _make_data_dir(data_dir, maker)
    making = _Making(launcher, data_dir, major, recipe, on_line)
    lines = making.run(UserName())
    if any(NO_NAME in line for line in lines):
        with user_name() as name:
            lines = making.run(name)
    if lines:
        raise ClusterFailed(
            "initdb failed: its output has the cause", "\n".join(lines[-_TAIL_LINES:])
        )
    if os_user is not None and maker is not None and os_user != maker:
        _hand_over(data_dir, maker, os_user)


class _Making:
    """The making of one cluster by programs that require a name of their user."""

    def __init__(
        self,
        launcher: Launcher,
        data_dir: Path,
        major: int,
        recipe: BaseRecipe,
        on_line: OnLine,
    ) -> None:
        self._launcher = launcher
        self._data_dir = data_dir
        self._major = major
        self._recipe = recipe
        self._on_line = on_line

    def run(self, name: UserName) -> list[str]:
        """Make the cluster; return what an ``initdb`` that failed has printed."""
        lines = self._with_best_locale(name)
        if not lines:
            _write(self._data_dir / "postgresql.conf", configuration(self._major), append=True)
            _write(self._data_dir / "pg_hba.conf", HBA, append=False)
            self._create_roles(name)
        return lines

    def _with_best_locale(self, name: UserName) -> list[str]:
        """Run ``initdb`` with the wanted locale or the best there is; return as ``run`` does."""
        wanted = self._recipe.locale
        tried = (wanted,) if wanted else locales(self._major)
        builtin = wanted is None and has_builtin_locale(self._major)
        for locale in tried:
            lines: list[str] = []
            arguments = initdb_arguments(self._major, locale, builtin=builtin)
            process = self._launcher.server(
                "initdb", arguments, output=subprocess.PIPE, user_name=name
            )
            if self._follow(process, lines, self._on_line) == 0:
                return []
            if not any(_BAD_LOCALE.search(line) for line in lines):
                return lines or ["it printed nothing"]
            _log.info("the C library has no locale %s", locale)
            if wanted:
                raise _no_locale(locale, lines)
        raise ClusterFailed(
            "initdb knows none of these locales: install one of them", ", ".join(tried)
        )

    def _create_roles(self, name: UserName) -> None:
        """Have a server in single-user mode, which reads statements line by line, create them."""
        lines: list[str] = []
        with input_file("".join(f"{each}\n" for each in self._recipe.statements())) as statements:
            process = self._launcher.server(
                "postgres",
                # Without the first, the server would go on after an error and exit with 0.
                ["-c", "exit_on_error=on", "-c", "log_destination=stderr", "postgres"],
                output=subprocess.PIPE,
                stdin=statements,
                user_name=name,
                mode=["--single"],
            )
        if self._follow(process, lines, lambda line: None) != 0:
            raise ClusterFailed(
                "the roles of the base state cannot be created: check postgres.roles",
                "\n".join(lines[-_TAIL_LINES:]),
            )
        self._on_line(f"roles: {', '.join((*ALWAYS, *self._recipe.roles))}")

    def _follow(self, process: Popen, lines: list[str], on_line: OnLine) -> int:
        """Return a program's exit code; all that it prints is added to ``lines``."""

        def on_output(line: str) -> None:
            # Clients on other machines need not see the engine's directories.
            line = line.rstrip().replace(str(self._data_dir), self._data_dir.name)
            lines.append(line)
            if line and not line.startswith(_NOT_SHOWN) and NO_NAME not in line:
                on_line(line)

        return Program(process).follow({"stdout": Lines(on_output)}, Cancellation())


def _no_locale(locale: str, lines: list[str]) -> LocaleUnavailable:
    said = next(line for line in lines if _BAD_LOCALE.search(line))
    return LocaleUnavailable(
        f"PostgreSQL cannot use the locale {locale}: install it (Debian and Ubuntu: package "
        "locales-all), or choose a UTF-8 locale of `locale -a` for postgres.locale",
        said,
    )


def _write(path: Path, text: str, *, append: bool) -> None:
    """Write to the plain file that ``initdb``, perhaps of a stranger's image, has made.

    Raises ClusterFailed when something else is in its place: nothing is followed or waited for.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _misled(path.name, str(error)) from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise _misled(path.name, "it is no plain file, or one with several names")
        if not append:
            os.ftruncate(descriptor, 0)
        file.write(text)


def _misled(name: str, reason: str) -> ClusterFailed:
    return ClusterFailed(f"initdb has made no {name}: use another image", reason)


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
