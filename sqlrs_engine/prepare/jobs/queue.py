"""The queue of jobs: each waits for a thread, runs on it, and leaves the queue."""

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from sqlrs_engine.errors import ENGINE_STOPPING, Unavailable
from sqlrs_engine.prepare.draft import Draft
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.store.records import Job

from .job import JobRun
from .retention import Retention
from .services import Services

# Jobs that run at the same time; the build locks limit how many of them run SQL.
THREADS = 64

_log = logging.getLogger(__name__)


class JobQueue:
    """Runs jobs on its threads; safe to use from any thread."""

    def __init__(self, services: Services, retention: Retention) -> None:
        self._services = services
        self._retention = retention
        self._threads = ThreadPoolExecutor(THREADS, "job")
        self._changed = threading.Condition()
        self._cancellations: dict[str, Cancellation] = {}
        self._planning: set[Cancellation] = set()  # for plans that are no jobs
        self._stopping = False

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Let no job enter or leave during the block; yield False when no job is accepted."""
        with self._changed:
            yield not self._stopping

    def __contains__(self, job_id: str) -> bool:
        """Return whether a job is queued or runs here."""
        return job_id in self._cancellations

    def __len__(self) -> int:
        """Return how many jobs are queued or run.

        Without the lock, which is held over writes: the event loop asks ten times a second.
        """
        return len(self._cancellations)

    def add(self, job: Job, draft: Draft | None = None) -> None:
        """Queue a job; on failure change nothing. Call it in ``locked``.

        ``draft`` is what was read of its request. A job that waits for a thread is read again:
        thousands may wait, and the drafts of all would fill the memory.
        """
        self._services.events.open(job.job_id)
        cancellation = self._cancellations[job.job_id] = Cancellation()
        self._retention.started(job.job_id)
        if len(self._cancellations) > THREADS:
            draft = None
        if job.status == "queued":
            self._services.events.append(job.job_id, "status", status="queued")
        try:
            self._threads.submit(self._run, job, draft, cancellation)
        except RuntimeError as error:
            # No thread can be started. The job waits in the pool's queue nevertheless.
            _log.warning("job %s waits: %s", job.job_id, error)
            self._services.retries.later("find threads for jobs", self._find_thread)

    def cancel(self, job_id: str) -> None:
        """Cancel a job if it is in the queue; it ends soon after."""
        cancellation = self._cancellations.get(job_id)
        if cancellation is not None:
            cancellation.cancel()

    @contextmanager
    def planning(self) -> Iterator[Cancellation]:
        """Yield the cancellation of a plan that is no job; ``stop`` interrupts it as well.

        Raises Unavailable when the engine is stopping.
        """
        cancellation = Cancellation()
        with self._changed:
            if self._stopping:
                raise Unavailable(ENGINE_STOPPING)
            self._planning.add(cancellation)
        try:
            yield cancellation
        finally:
            with self._changed:
                self._planning.discard(cancellation)

    def in_background(self, action: Callable[[], object]) -> None:
        """Do work on a thread, after the jobs before it; do nothing when stopping."""
        try:
            self._threads.submit(action)
        except RuntimeError as error:
            _log.debug("nothing more is done in the background: %s", error)

    def wait_for_end(self, job_ids: Collection[str], seconds: float) -> bool:
        """Wait until none of these jobs is in the queue; return False when that takes longer."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._cancellations.keys().isdisjoint(job_ids), seconds
            )

    def stop(self, seconds: float) -> None:
        """Refuse jobs and plans and interrupt those in the queue; wait at most ``seconds``."""
        with self._changed:
            self._stopping = True
            jobs = dict(self._cancellations)
            planning = list(self._planning)
        for cancellation in (*jobs.values(), *planning):
            cancellation.interrupt()
        if not self.wait_for_end(jobs, seconds):
            _log.warning("%d jobs did not stop in time", len(self))
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _find_thread(self) -> None:
        if not self._stopping:
            self._threads.submit(lambda: None)

    def _run(self, job: Job, draft: Draft | None, cancellation: Cancellation) -> None:
        ended = None
        try:
            ended = JobRun(job, draft, cancellation, self._services).run()
            if ended is not None:
                self._retention.finished(ended)
        except Exception:
            # The top of a job's thread.
            _log.exception("job %s is left for the next start", job.job_id)
        finally:
            if ended is None:
                self._retention.gone(job.job_id)
            if not self._stopping:
                self._services.events.close(job.job_id, suspended=ended is None)
            with self._changed:
                self._cancellations.pop(job.job_id, None)
                self._changed.notify_all()
            self._services.durability.request()
