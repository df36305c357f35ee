"""The runs in progress: each executes programs of PostgreSQL against an instance."""

import errno
import logging
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlrs_engine.clock import Clock, utc_now
from sqlrs_engine.errors import ENGINE_STOPPING, ClusterFailed, InvalidArgument, Unavailable
from sqlrs_engine.processes.program import GRACE_SECONDS, Popen, input_file
from sqlrs_engine.store.records import Instance

from .request import RunRequest, RunStep
from .run import END_SECONDS, Run
from .sessions import end_sessions

if TYPE_CHECKING:
    from sqlrs_engine.instances.restart import Restart
    from sqlrs_engine.postgres.cluster import Cluster
    from sqlrs_engine.registry import Registry

_CHECKS_CLIENTS_SINCE = 14
_CHECK_CLIENT = "-c client_connection_check_interval=1s"
_LINGER_SECONDS = 0.2
_LISTED_FILES = 5

_log = logging.getLogger(__name__)


class Runs:
    """Starts runs and knows those in progress; thread-safe."""

    def __init__(
        self,
        registry: "Registry",
        restart: "Restart",
        clusters: "Callable[[Instance], Cluster]",
        *,
        renew: Callable[[str], object],
        scratch: Callable[[], AbstractContextManager[Path]],
        clock: Clock = utc_now,
    ) -> None:
        """``clusters`` returns an instance's cluster, ``renew`` records use of an instance.

        ``scratch`` makes the directory that a run works in, removed when the run is over.
        """
        self._registry = registry
        self._restart = restart
        self._clusters = clusters
        self._renew = renew
        self._scratch = scratch
        self._clock = clock
        self._lock = threading.Lock()
        self._active: set[Run] = set()
        self._is_closed = False

    def open(self, body: dict[str, Any]) -> Run:
        """Start the run that the body of ``POST /v1/runs`` describes.

        An instance whose server is down is restarted first, on the same port. Read the run to
        its end or cancel it.

        Raises InvalidArgument, NotFound, Conflict, ImageUnavailable, ClusterFailed, and
        Unavailable when the engine is stopping.
        """
        self._refuse_when_closed()
        request = RunRequest.from_json(body)
        instance, is_by_name = self._registry.instance(request.instance_ref)
        steps = request.invocations()
        # Before anything else, so that the instance does not expire in between.
        self._renew(instance.instance_id)
        if is_by_name:
            self._registry.touch(request.instance_ref)
        notes: list[str] = []
        instance = self._restart.ensure_running(instance.instance_id, notes.append)
        return self._start(request.program, steps, instance, notes)

    def active(self) -> int:
        """Return how many runs are in progress."""
        with self._lock:
            return len(self._active)

    def shutdown(self, seconds: float) -> None:
        """Refuse new runs, end those in progress and wait for them up to ``seconds``."""
        with self._lock:
            self._is_closed = True
            runs = list(self._active)
        for run in runs:
            run.interrupt(Unavailable(ENGINE_STOPPING))
        deadline = time.monotonic() + min(seconds, GRACE_SECONDS + END_SECONDS)
        left = [run for run in runs if not run.wait(deadline - time.monotonic())]
        if left:
            _log.error("%d runs have not ended yet", len(left))

    def _start(
        self, program: str, steps: Sequence[RunStep], instance: Instance, notes: Sequence[str]
    ) -> Run:
        cluster = self._clusters(instance)
        # Identifies the sessions of the run, which are ended with it.
        application = f"{program}-{secrets.token_hex(6)}"
        environment = {"PGAPPNAME": application}
        if cluster.distribution.major >= _CHECKS_CLIENTS_SINCE:
            environment["PGOPTIONS"] = _CHECK_CLIENT

        cleanup = ExitStack()
        directory = cleanup.enter_context(self._scratch())

        def settle(is_cut_short: bool) -> list[str]:
            with cleanup:
                patience = 0 if is_cut_short else _LINGER_SECONDS
                end_sessions(cluster, instance.port, application, patience)
                return _left_behind(directory)

        launch = partial(_launch, cluster, program, instance.port, directory, environment)
        try:
            run = Run(
                instance.instance_id,
                [partial(launch, step) for step in steps],
                notes=notes,
                settle=settle,
                on_end=self._ended,
                clock=self._clock,
            )
        except BaseException:
            cleanup.close()
            raise
        with self._lock:
            self._active.add(run)
        try:
            self._refuse_when_closed()
        except Unavailable:
            run.cancel()
            raise
        return run

    def _ended(self, run: Run) -> None:
        try:
            self._renew(run.instance_id)
        finally:
            with self._lock:
                self._active.discard(run)

    def _refuse_when_closed(self) -> None:
        with self._lock:
            if self._is_closed:
                raise Unavailable(ENGINE_STOPPING)


def _left_behind(directory: Path) -> list[str]:
    """Return a line about the files that are removed with a run's directory, if any."""
    names = sorted(path.name for path in directory.iterdir())
    if not names:
        return []
    listed = ", ".join(names[:_LISTED_FILES]) + (", …" if len(names) > _LISTED_FILES else "")
    return [f"removed with the run's directory: {listed} (an absolute path keeps a file)"]


def _launch(
    cluster: "Cluster",
    program: str,
    port: int,
    directory: Path,
    environment: Mapping[str, str],
    step: RunStep,
) -> Popen:
    # psql reads no psqlrc: what a run does must not depend on the engine's user.
    arguments = ["-X", *step.args] if program == "psql" else step.args
    with ExitStack() as cleanup:
        stdin = None if step.stdin is None else cleanup.enter_context(input_file(step.stdin))
        try:
            return cluster.client(
                program,
                arguments,
                port=port,
                cwd=directory,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                environment=environment,
            )
        except ClusterFailed as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno == errno.E2BIG:
                raise InvalidArgument(
                    "the arguments are too long",
                    "send long SQL as standard input, with the arguments -f -",
                ) from error
            raise
