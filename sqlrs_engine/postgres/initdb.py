"""Making the first, empty cluster of an image."""

import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from ..errors import ClusterFailed
from .launch import Launcher
from .os_user import OsUser
from .settings import HBA, configuration, initdb_arguments, locales

OnLine = Callable[[str], None]

_BAD_LOCALE = "invalid locale name"
_TAIL_LINES = 20
# True, and of no use to anyone: the engine knows when states have reached the disk.
_NOT_SHOWN = ("Sync to disk skipped.", "The data directory might become corrupt")

_log = logging.getLogger(__name__)


def initialise(
    launcher: Launcher, data_dir: Path, major: int, os_user: OsUser | None, on_line: OnLine
) -> None:
    """Run ``initdb`` and write the configuration; see ``Cluster.initdb``."""
    _make_data_dir(data_dir, os_user)
    for locale in locales(major):
        lines: list[str] = []
        status = _run(launcher, data_dir, initdb_arguments(major, locale), lines, on_line)
        if status == 0:
            break
        if not any(_BAD_LOCALE in line for line in lines):
            raise ClusterFailed("initdb failed", "\n".join(lines[-_TAIL_LINES:]))
        _log.info("the C library has no locale %s", locale)
    else:
        raise ClusterFailed("initdb knows none of the locales", ", ".join(locales(major)))
    with (data_dir / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write(configuration(major))
    (data_dir / "pg_hba.conf").write_text(HBA, encoding="utf-8")


def _make_data_dir(data_dir: Path, os_user: OsUser | None) -> None:
    try:
        data_dir.mkdir(mode=0o700, exist_ok=True)
        if os_user is not None:
            os.chown(data_dir, os_user.uid, os_user.gid)
    except OSError as error:
        raise ClusterFailed("cannot create the data directory", str(error)) from error


def _run(
    launcher: Launcher, data_dir: Path, arguments: list[str], lines: list[str], on_line: OnLine
) -> int:
    with launcher.server("initdb", arguments, output=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        try:
            for raw in process.stdout:
                line = raw.decode("utf-8", "replace").rstrip()
                # Where the engine has it is nothing to clients on other machines.
                line = line.replace(str(data_dir), data_dir.name)
                lines.append(line)
                if line and not line.startswith(_NOT_SHOWN):
                    on_line(line)
        except BaseException:
            process.kill()
            raise
    return process.returncode
