"""One data directory: initialise it, run its server, talk to it.

A server is started in a session of its own and outlives the engine. Any ``Cluster`` on
the same directory finds it again, whoever started it. At most one thread at a time may
start or stop the server of a directory.
"""

import os
import re
import secrets
import signal
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlrs_engine.errors import ClusterFailed, Conflict
from sqlrs_engine.processes.identity import kill_working_in, pidfd, send, start_ticks, wait_exit

from .control_file import shut_down_cleanly
from .distributions.distribution import Distribution
from .initdb import OnLine, initialise
from .launch import File, Launcher, Popen, socket_fits
from .log_file import LogFile, open_log
from .os_user import OsUser
from .postmaster import DEFAULT_PORT, Postmaster, find_postmaster, pid_file, read_pid_file
from .reach import PUBLIC_ROOT
from .scram import scram_verifier
from .settings import SUPERUSER, Setting, start_arguments
from .shared_memory import release

if TYPE_CHECKING:
    import psycopg

__all__ = [
    "SESSIONS_EVER",
    "Cluster",
    "PortTaken",
    "Postmaster",
    "ServerUnusable",
    "SettingsUnfit",
    "StateUnusable",
]

StopMode = Literal["fast", "immediate"]

START_SECONDS = 60.0
STOP_SECONDS = 60.0
KILL_SECONDS = 10.0
APPLICATION_NAME = "sqlrs-engine"

# What ALTER ROLE does, without the 3 ms in which it makes sure that the verifier is not one
# of an empty password.
_ALTER_ROLE = "UPDATE pg_catalog.pg_authid SET rolpassword = %s WHERE rolname = %s"
_USABLE = """
    SELECT rolsuper AND coalesce(rolvaliduntil > now(), true)
    FROM pg_catalog.pg_authid WHERE rolname = %s
"""
SESSIONS_EVER = "SELECT coalesce(sum(sessions), 0)::bigint FROM pg_catalog.pg_stat_database"
_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_POLL_SECONDS = (0.001, 0.02)


# What PostgreSQL says when the content of a cluster, a replication slot or a prepared
# transaction, needs other settings than those of the start.
_UNFIT_SETTING = re.compile(r'HINT: +(?:Change|Increase|Set) "?([a-z_]+)"?')


class PortTaken(ClusterFailed):
    """Another program listens on the port: try the next one."""


class ServerUnusable(ClusterFailed):
    """The server does not start, or turns its superuser away: what was done to it may be why."""


class SettingsUnfit(ServerUnusable):
    """The cluster holds something that does not go with the settings of the start."""

    code = Conflict.code
    status = Conflict.status


class StateUnusable(ServerUnusable):
    """A clone of a state does not start, although one did before.

    ``state_id`` is None for the empty cluster of an image.
    """

    def __init__(self, state_id: str | None, error: ServerUnusable) -> None:
        self.state_id = state_id
        super().__init__(
            "the state does not start any more: prepare it again, and what is damaged is made"
            " anew; if nothing else starts either, look at postgres.settings",
            f"{'the empty cluster' if state_id is None else f'state {state_id}'}: {error}",
        )


class Cluster:
    """A PostgreSQL data directory and the programs that serve it.

    ``os_user`` runs the server when the engine is root. ``log_file`` takes what the
    server writes; it is the engine's, beside the data directory rather than in it.
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

    def initdb(self, on_line: OnLine) -> None:
        """Initialise the data directory, which may exist if it is empty.

        UTF-8, locale C.UTF-8, time zone UTC, superuser ``sqlrs``. ``on_line`` gets the
        lines ``initdb`` prints. Raises ClusterFailed with its last words.
        """
        initialise(self._launcher, self.data_dir, self.distribution.major, self._os_user, on_line)

    def start(
        self,
        *,
        port: int | None,
        settings: Mapping[str, Setting] | None = None,
        seconds: float = START_SECONDS,
    ) -> Postmaster:
        """Start the server and wait until it accepts connections.

        ``port`` is that of 127.0.0.1, None for the unix socket alone. ``settings`` win
        over the cluster's own. A server that runs on that port already is returned as it
        is; what a killed one left behind is cleared away first.

        Raises PortTaken when the port is in use, SettingsUnfit when the cluster needs other
        settings, ServerUnusable (with the last lines of the log) when the server ends at once,
        ClusterFailed when it is not ready within ``seconds``, or cannot be run.
        """
        running = self.postmaster()
        if running is not None and running.stopping:
            self._see_off(running)
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
            raise ClusterFailed("cannot start PostgreSQL", str(error)) from error
        except ClusterFailed:
            # One that an engine started just before it was killed may have come first.
            earlier = self.postmaster()
            if earlier is None:
                raise
            return self._adopt(earlier, port or DEFAULT_PORT, seconds)

    def postmaster(self) -> Postmaster | None:
        """Return the live server of this data directory, whoever started it."""
        return find_postmaster(self.data_dir)

    def stop(self, mode: StopMode, *, seconds: float = STOP_SECONDS) -> None:
        """Stop the server and wait for its end; nothing happens when none runs.

        ``fast`` writes everything to the data directory's files, ``immediate`` leaves the
        next start to recover from the log. A server that does not obey within ``seconds``
        is killed. When the files are not as ``fast`` should leave them, it raises
        ClusterFailed.
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
            self._kill(process)
        self._clear_remains()
        if mode == "fast":
            raise ClusterFailed(
                f"PostgreSQL did not stop within {seconds:g} s and was killed", str(self.data_dir)
            )

    def check_clean_end(self) -> None:
        """Raise ClusterFailed, with the end of the log, unless all is in the data files.

        ``stop`` asks when it ended a server. Whoever makes a state asks in any case: the
        server may have died by itself before.
        """
        if shut_down_cleanly(self.data_dir):
            return
        with open_log(self._log_file) as log:
            raise ClusterFailed(
                "PostgreSQL failed while it stopped", LogFile(log.descriptor, 0).tail()
            )

    def connect(
        self, port: int | None, dbname: str = "postgres", *, autocommit: bool = True
    ) -> "psycopg.Connection[tuple[object, ...]]":
        """Return a connection of the superuser over the unix socket.

        Its ``application_name`` is ``sqlrs-engine``. ``port`` is the one given to
        ``start``. Raises ServerUnusable when the server does not answer.
        """
        import psycopg

        if socket_fits(self.data_dir):
            return self._connect(str(self.data_dir), port, dbname, autocommit)
        descriptor = os.open(self.data_dir, os.O_PATH | os.O_DIRECTORY)
        try:
            connection: psycopg.Connection[tuple[object, ...]] = self._connect(
                f"/proc/self/fd/{descriptor}", port, dbname, autocommit
            )
        except BaseException:
            os.close(descriptor)
            raise
        # To cancel a query, the connection comes back to this path.
        weakref.finalize(connection, os.close, descriptor)
        return connection

    def client(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        port: int | None,
        dbname: str = "postgres",
        cwd: Path | None = None,
        stdin: File = None,
        stdout: File = None,
        stderr: File = None,
        environment: Mapping[str, str] | None = None,
    ) -> Popen:
        """Start a client program (``psql``, ``pgbench``, …), set to connect to this cluster.

        It runs as the engine's own user, leads a session and process group of its own,
        and sees only a small environment plus ``environment``. ``stdin`` None is empty;
        ``stdout`` and ``stderr`` None are the engine's. Raises InvalidArgument unless
        ``program`` is the plain name of a program of the distribution, ClusterFailed when
        it cannot be run.
        """
        return self._launcher.client(
            program,
            arguments,
            port=port or DEFAULT_PORT,
            dbname=dbname,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            environment=environment or {},
        )

    def set_password(self, port: int | None, password: str | None) -> int:
        """Set the superuser's password, None for none (no access by TCP).

        The server sees a SCRAM verifier only. Returns how many sessions the cluster ever
        had, this one included.
        """
        import psycopg

        verifier = None if password is None else scram_verifier(password)
        try:
            with self.connect(port) as connection:
                connection.execute(_ALTER_ROLE, (verifier, SUPERUSER))
                row = connection.execute(SESSIONS_EVER).fetchone()
        except psycopg.Error as error:
            raise ServerUnusable("cannot set the password", str(error).strip()) from error
        return int(str(row[0])) if row else 0

    def check_superuser(self, port: int | None) -> None:
        """Raise ServerUnusable unless the superuser can log in, and its password too."""
        import psycopg

        try:
            with self.connect(port) as connection:
                row = connection.execute(_USABLE, (SUPERUSER,)).fetchone()
        except psycopg.Error as error:
            raise ServerUnusable("cannot log in to PostgreSQL", str(error).strip()) from error
        if row is None or not row[0]:
            raise ServerUnusable(
                "cannot log in to PostgreSQL",
                f"{SUPERUSER} is no superuser any more, or its password is not valid any more",
            )

    def log_in(self, port: int, password: str) -> int:
        """Log in with the superuser's password by TCP, as clients do.

        Returns how many sessions the cluster ever had, this one included. Raises
        ServerUnusable when the server refuses.
        """
        import psycopg

        try:
            with _connection("127.0.0.1", port, "postgres", password=password) as connection:
                row = connection.execute(SESSIONS_EVER).fetchone()
        except psycopg.Error as error:
            raise ServerUnusable("cannot log in to PostgreSQL", str(error).strip()) from error
        return int(str(row[0])) if row else 0

    def _adopt(self, running: Postmaster, port: int, seconds: float) -> Postmaster:
        """Return a server that runs already, once it is ready."""
        if running.port != port:
            raise ClusterFailed(
                "PostgreSQL runs already, on another port", f"{running.port}, not {port}"
            )
        with pidfd(running.pid) as process:
            if process is not None and self._await_ready(process, running.pid, seconds):
                return running
        raise ClusterFailed("PostgreSQL runs already but does not become ready")

    def _see_off(self, leaving: Postmaster) -> None:
        """Wait for the end of a server that was told to stop by an engine now dead."""
        with pidfd(leaving.pid) as process:
            if process is None or start_ticks(leaving.pid) != leaving.start_ticks:
                return
            if not wait_exit(process, STOP_SECONDS):
                self._kill(process)

    def _await_start(self, process: Popen, log: LogFile, seconds: float) -> Postmaster:
        """Wait for the server just started; whatever happens, it is reaped."""
        with pidfd(process.pid) as handle:
            # The server is this process's child for as long as both live.
            threading.Thread(
                target=process.wait, name=f"postmaster-{process.pid}", daemon=True
            ).start()
            if handle is not None and self._await_ready(handle, process.pid, seconds):
                started = self.postmaster()
                if started is not None:
                    return started
            if handle is not None and not wait_exit(handle, 0):
                self._kill(handle)
                self._clear_remains()
                # Nothing that was done to it makes a server slow: the machine is.
                raise ClusterFailed(f"PostgreSQL was not ready within {seconds:g} s", log.tail())
        details = log.tail()
        if "Address already in use" in details:
            raise PortTaken("the port is taken", details)
        unfit = _UNFIT_SETTING.search(details)
        if unfit is not None:
            raise SettingsUnfit(
                f"PostgreSQL does not start with its settings: mind {unfit[1]} in "
                "postgres.settings of the configuration",
                details,
            )
        raise ServerUnusable("PostgreSQL did not start", details)

    def _await_ready(self, process: int, pid: int, seconds: float) -> bool:
        """Wait until the server accepts connections; False when it ends or time is up.

        It tells by a word in a file, so the file is read again and again, while the end
        of the process is noticed at once.
        """
        pause, longest = _POLL_SECONDS
        begun = time.monotonic()
        while (waited := time.monotonic() - begun) < seconds:
            if waited > 50 * pause:
                pause = min(2 * pause, longest)
            if wait_exit(process, pause):
                return False
            found = read_pid_file(self.data_dir)
            if found is not None and found.ready and found.pid == pid:
                return True
        return False

    def _kill(self, process: int) -> None:
        """End a server that does not obey: it may take its processes along, then it dies."""
        send(process, signal.SIGQUIT)
        if not wait_exit(process, KILL_SECONDS):
            send(process, signal.SIGKILL)
            wait_exit(process, KILL_SECONDS)

    def _clear_remains(self) -> None:
        """Clear away what a killed server left: processes, shared memory, pid and socket files.

        Those files would stop the next start if their pid has passed to another process.
        """
        stale = pid_file(self.data_dir)
        if not os.path.lexists(stale):
            return
        if stale.is_dir() and not stale.is_symlink():
            # Nobody's pid, and perhaps somebody's: it stays in the container.
            stale.rename(self._log_file.with_name(f"{stale.name}.{secrets.token_hex(4)}"))
            return
        found = read_pid_file(self.data_dir)
        try:
            kill_working_in(self.data_dir, KILL_SECONDS)
        except TimeoutError as error:
            raise ClusterFailed("a process of a killed server lives on", str(error)) from error
        if found is not None and found.segment is not None:
            release(self.data_dir, found.segment)
        for path in self.data_dir.glob(".s.PGSQL.*"):
            path.unlink(missing_ok=True)
        stale.unlink(missing_ok=True)

    def _connect(
        self, host: str, port: int | None, dbname: str, autocommit: bool
    ) -> "psycopg.Connection[tuple[object, ...]]":
        import psycopg

        try:
            return _connection(host, port, dbname, autocommit=autocommit)
        except psycopg.OperationalError as error:
            raise ServerUnusable("cannot connect to PostgreSQL", str(error).strip()) from error


def _connection(
    host: str,
    port: int | None,
    dbname: str,
    *,
    autocommit: bool = True,
    password: str | None = None,
) -> "psycopg.Connection[tuple[object, ...]]":
    import psycopg

    return psycopg.connect(
        host=host,
        port=port or DEFAULT_PORT,
        user=SUPERUSER,
        password=password,
        dbname=dbname,
        autocommit=autocommit,
        application_name=APPLICATION_NAME,
        connect_timeout=10,
        # Said here so that no PG… variable of the engine's environment says it.
        hostaddr="",
        # Nor what a script has set for the role or the database.
        options="-c default_transaction_read_only=off -c statement_timeout=0",
        client_encoding="UTF8",
        # By password it is a client's way, which takes what the server asks for.
        sslmode="disable" if password is None else "prefer",
        gssencmode="disable",
        target_session_attrs="any",
    )
