"""A cluster: initialise its data directory, run its server, connect to it.

A server is started in its own session and outlives the engine. Any ``Cluster`` on the same
directory finds it again, whichever engine started it. At most one thread at a time may start or
stop the server of a directory.
"""

import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlrs_engine.errors import ClusterFailed
from sqlrs_engine.processes.identity import pidfd, send, start_ticks, wait_exit
from sqlrs_engine.processes.output import OnLine

from . import superuser
from .access import PUBLIC_ROOT
from .base_recipe import BaseRecipe
from .control_file import shut_down_cleanly
from .distributions.distribution import Distribution
from .errors import start_failure
from .initdb import initialise
from .launcher import File, Launcher, Popen
from .log_file import LogFile, open_log
from .os_user import OsUser
from .postmaster import DEFAULT_PORT, Postmaster, find_postmaster, kill, wait_ready
from .remains import clear_remains
from .settings import BOOTSTRAP_SUPERUSER, Setting, start_arguments

if TYPE_CHECKING:
    from .superuser import Connection

StopMode = Literal["fast", "immediate"]

START_SECONDS = 60.0
STOP_SECONDS = 60.0

_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class Cluster:
    """A PostgreSQL data directory and the programs that serve it.

    ``os_user`` runs the server when the engine is root. The server's output goes to ``log_file``;
    it belongs to the engine and is beside the data directory rather than in it.
    """

    def __init__(
        self,
        distribution: Distribution,
        data_dir: Path,
        *,
        os_user: OsUser | None,
        log_file: Path,
        public_root: Path = PUBLIC_ROOT,
    ) -> None:
        self.distribution = distribution
        self.data_dir = data_dir
        self._os_user = os_user
        self._log_file = log_file
        self._launcher = Launcher(distribution, data_dir, os_user, public_root)

    def initdb(self, on_line: OnLine, recipe: BaseRecipe | None = None) -> None:
        """Initialise the data directory, which may exist if it is empty.

        UTF-8, time zone UTC, superusers ``sqlrs`` and ``postgres``, the locale and further roles of
        ``recipe``. ``on_line`` gets the lines that ``initdb`` prints. Raises LocaleUnavailable,
        ClusterFailed with the last lines.
        """
        recipe = (recipe or BaseRecipe()).on(self.distribution)
        major = self.distribution.major
        initialise(self._launcher, self.data_dir, major, recipe, self._os_user, on_line)

    def start(
        self,
        *,
        port: int | None,
        settings: Mapping[str, Setting] | None = None,
        seconds: float = START_SECONDS,
    ) -> Postmaster:
        """Start the server and wait until it accepts connections.

        ``port`` is a port of 127.0.0.1, None for the unix socket alone. ``settings`` take
        precedence over the cluster's own. A server that runs on that port already is returned
        as it is; what a killed one left behind is removed first.

        Raises PortTaken when the port is in use, SettingsUnfit when the cluster needs other
        settings, ServerUnusable (with the last lines of the log) when the server ends at once,
        ClusterFailed when it is not ready within ``seconds``, or cannot be run.
        """
        running = self.postmaster()
        if running is not None and running.stopping:
            self._await_end(running)
            running = self.postmaster()
        if running is not None:
            return self._adopt(running, port or DEFAULT_PORT, seconds)
        self._clear_remains()
        arguments = start_arguments(
            port or DEFAULT_PORT, tcp=port is not None, settings=settings or {}
        )
        try:
            with open_log(self._log_file) as log:
                log.reserve()
                process = self._launcher.server("postgres", arguments, output=log.descriptor)
                return self._await_start(process, log, seconds)
        except OSError as error:
            raise ClusterFailed(
                "cannot start PostgreSQL: check its installation with `sqlrs-engine doctor`",
                str(error),
            ) from error
        except ClusterFailed:
            # One that an engine started just before it was killed may have come first.
            earlier = self.postmaster()
            if earlier is None:
                raise
            return self._adopt(earlier, port or DEFAULT_PORT, seconds)

    def postmaster(self) -> Postmaster | None:
        """Return the live server of this data directory, whichever engine started it."""
        return find_postmaster(self.data_dir)

    def stop(self, mode: StopMode, *, seconds: float = STOP_SECONDS) -> None:
        """Stop the server and wait for its end; do nothing when none runs.

        ``fast`` writes everything to the data directory's files, ``immediate`` leaves the next
        start to recover from the log. A server that does not stop within ``seconds`` is killed.
        After ``fast``, raises ClusterFailed unless all is in the data files.
        """
        running = self.postmaster()
        if running is None:
            self._clear_remains()
            return
        with pidfd(running.pid) as process:
            if process is None or start_ticks(running.pid) != running.start_ticks:
                self._clear_remains()
                return
            send(process, _SIGNALS[mode])
            if wait_exit(process, seconds):
                if mode == "fast":
                    self.check_clean_end()
                return
            kill(process)
        self._clear_remains()
        if mode == "fast":
            raise ClusterFailed(
                f"PostgreSQL did not stop within {seconds:g} s and was killed: try again",
                str(self.data_dir),
            )

    def check_clean_end(self) -> None:
        """Raise ClusterFailed, with the end of the log, unless all is in the data files.

        ``stop`` checks this only when it ended a server. Check it whenever a state is made: the
        server may have died by itself before.
        """
        if shut_down_cleanly(self.data_dir):
            return
        with open_log(self._log_file) as log:
            raise ClusterFailed(
                "PostgreSQL failed while it stopped: its log has the cause",
                LogFile(log.descriptor, 0).tail(),
            )

    def log(self) -> AbstractContextManager[LogFile]:
        """Open the server's log, to read what the server writes from now on."""
        return open_log(self._log_file)

    def client(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        port: int | None,
        dbname: str = "postgres",
        distribution: Distribution | None = None,
        cwd: Path | None = None,
        stdin: File = None,
        stdout: File = None,
        stderr: File = None,
        environment: Mapping[str, str] | None = None,
    ) -> Popen:
        """Start a client program (``psql``, ``pgbench``, …), set to connect to this cluster.

        It runs as the engine's own user, but root runs no program of an image: it runs the same
        program of this machine, or the image's as the server's user. ``distribution`` is another
        one of this machine whose program is to run. It leads its own session and process group, and
        sees only a small environment plus ``environment``. ``stdin`` None is empty; ``stdout`` and
        ``stderr`` None are the engine's. Raises InvalidArgument unless ``program`` is the plain
        name of a program of the distribution, ClusterFailed when it cannot be run.
        """
        return self._launcher.client(
            program,
            arguments,
            port=port or DEFAULT_PORT,
            dbname=dbname,
            distribution=distribution,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            environment=environment or {},
        )

    def shell(
        self, text: str, arguments: Sequence[str], *, environment: Mapping[str, str]
    ) -> Popen:
        """Start ``bash`` on a text as the servers' user; its output is a pipe.

        PostgreSQL's programs are the first in its PATH, and connect to this cluster's server,
        which runs without a port, as the user that images know. It sees ``environment`` and what
        the entry points of images set, and leads its own session and process group. Raises
        ClusterFailed when there is no ``bash``.
        """
        return self._launcher.shell(
            text, arguments, port=DEFAULT_PORT, user=BOOTSTRAP_SUPERUSER, environment=environment
        )

    def connect(
        self, port: int | None, dbname: str = "postgres", *, autocommit: bool = True
    ) -> "Connection":
        """Return a connection of the superuser over the unix socket.

        Its ``application_name`` is ``sqlrs-engine``. ``port`` is the one given to
        ``start``. Raises ServerUnusable when the server does not answer.
        """
        return superuser.connect(self.data_dir, port or DEFAULT_PORT, dbname, autocommit=autocommit)

    def connect_to_any(self, port: int | None) -> "Connection":
        """Return a connection like ``connect``, even if a user has dropped ``postgres``."""
        return superuser.connect_to_any(self.data_dir, port or DEFAULT_PORT)

    def set_password(self, port: int | None, password: str | None) -> int:
        """Set the superuser's password; None means no login by TCP.

        Returns how many sessions the cluster ever had, this one included. Raises
        ServerUnusable.
        """
        with superuser.refusals("cannot set the password"), self.connect(port) as connection:
            superuser.set_password(connection, password)
            return superuser.sessions_ever(connection)

    def end_sessions(self, port: int | None) -> None:
        """End all sessions but the engine's own. Raises ServerUnusable."""
        with superuser.refusals("cannot end sessions"), self.connect_to_any(port) as connection:
            superuser.end_sessions(connection)

    def altered_settings(self) -> bytes:
        """Return the file of ALTER SYSTEM (PostgreSQL docs, 19.1.2)."""
        return (self.data_dir / "postgresql.auto.conf").read_bytes()

    def check_superuser(self, port: int | None, *, alone: bool = False) -> None:
        """Raise ServerUnusable unless the superuser can log in, with a password too.

        With ``alone``, all sessions but the engine's own are ended.
        """
        with superuser.refusals("cannot log in to PostgreSQL"), self.connect(port) as connection:
            superuser.check(connection)
            if alone:
                superuser.end_sessions(connection)

    def log_in(self, port: int, password: str) -> int:
        """Log in by TCP and password, as clients do.

        Returns how many sessions the cluster ever had, this one included. Raises
        ServerUnusable when the server refuses.
        """
        return superuser.log_in(port, password)

    def _adopt(self, running: Postmaster, port: int, seconds: float) -> Postmaster:
        """Return a server that runs already, once it is ready."""
        if running.port != port:
            raise ClusterFailed(
                "PostgreSQL already runs on another port", f"{running.port}, not {port}"
            )
        with pidfd(running.pid) as process:
            if process is not None and wait_ready(self.data_dir, process, running.pid, seconds):
                return running
        raise ClusterFailed(
            "PostgreSQL already runs but does not become ready: try again in a moment"
        )

    def _await_end(self, leaving: Postmaster) -> None:
        """Wait for the end of a server that an engine, now dead, told to stop."""
        with pidfd(leaving.pid) as process:
            if process is None or start_ticks(leaving.pid) != leaving.start_ticks:
                return
            if not wait_exit(process, STOP_SECONDS):
                kill(process)

    def _await_start(self, process: Popen, log: LogFile, seconds: float) -> Postmaster:
        """Wait for the server just started; whatever happens, it is reaped."""
        with pidfd(process.pid) as handle:
            # The server is this process's child for as long as both live.
            threading.Thread(
                target=process.wait, name=f"postmaster-{process.pid}", daemon=True
            ).start()
            if handle is not None and wait_ready(self.data_dir, handle, process.pid, seconds):
                started = self.postmaster()
                if started is not None:
                    return started
            if handle is not None and not wait_exit(handle, 0):
                kill(handle)
                self._clear_remains()
                # The content of a cluster does not make its server slow: the machine is slow.
                raise ClusterFailed(
                    f"PostgreSQL was not ready within {seconds:g} s: try again when the machine is "
                    "less busy",
                    log.tail(),
                )
        raise start_failure(log.tail())

    def _clear_remains(self) -> None:
        clear_remains(self.data_dir, self._log_file.parent)
