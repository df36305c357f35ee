"""The retention of finished jobs; their states and instances are not touched.

The latest jobs with identical inputs stay (``orchestrator.jobs.maxIdentical``), and so do the
latest of all jobs (``maxFinished``), each until it is too old (``maxAge``). A job whose outcome no
client has read yet is spared for a minute: many clients may prepare the same at the same time, and
each needs its own answer.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from sqlrs_engine.clock import Clock, Timestamp, shift
from sqlrs_engine.config import Config
from sqlrs_engine.store import JobStore
from sqlrs_engine.store.records import Job

MAX_IDENTICAL = "orchestrator.jobs.maxIdentical"
MAX_FINISHED = "orchestrator.jobs.maxFinished"
MAX_AGE = "orchestrator.jobs.maxAge"
AT_ONCE = 200
UNREAD_SECONDS = 60.0

_log = logging.getLogger(__name__)


class Retention:
    """Deletes the rows of jobs that are beyond the limits; safe to use from any thread."""

    def __init__(
        self,
        jobs: JobStore,
        config: Config,
        followed: Callable[[str], bool],
        clock: Clock,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``followed`` returns whether a client follows a job's events just now."""
        self._jobs = jobs
        self._config = config
        self._followed = followed
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._unread: dict[str, float] = {}

    def started(self, job_id: str) -> None:
        """Note a job that starts, because a client will read its outcome.

        This is not done at its end: a client could read the outcome before that is noted.
        """
        with self._lock:
            self._unread[job_id] = math.inf

    def finished(self, job: Job) -> None:
        """Note a job that has just ended, and retire older ones."""
        with self._lock:
            if job.job_id in self._unread:
                self._unread[job.job_id] = self._monotonic()
        with _failing_softly(job):
            self._retire(job.signature)
            self.retire_old()

    def retire_old(self) -> None:
        """Retire the jobs that are too old or too many, up to ``AT_ONCE`` of each kind."""
        self._forget_old()
        moment, most = self._oldest(), int(self._config.value(MAX_FINISHED))
        if moment is not None:
            self._remove(self._jobs.finished_before(moment, AT_ONCE))
        if most:
            self._remove(self._jobs.finished_beyond(most, AT_ONCE))

    def gone(self, job_id: str) -> None:
        """Forget a job that did not end: it was deleted, or resumes at the next start."""
        with self._lock:
            self._unread.pop(job_id, None)

    def is_unread(self, job_id: str) -> bool:
        """Return whether no client has read a job's outcome."""
        with self._lock:
            return job_id in self._unread

    def read(self, job: Job) -> None:
        """Note that a client has read a job's outcome."""
        with self._lock:
            unread = self._unread.pop(job.job_id, None) is not None
        if unread:
            with _failing_softly(job):
                self._retire(job.signature)

    def _oldest(self) -> Timestamp | None:
        """Return the time before which finished jobs are too old."""
        age = self._config.seconds(MAX_AGE)
        return shift(self._clock(), -age) if age > 0 else None

    def _retire(self, signature: str | None) -> None:
        limit = int(self._config.value(MAX_IDENTICAL))
        if signature is None or not limit:
            return
        self._forget_old()
        self._remove(self._jobs.finished_with(signature)[limit:])

    def _remove(self, job_ids: Iterable[str]) -> None:
        for job_id in job_ids:
            if job_id not in self._unread and not self._followed(job_id):
                self._jobs.remove(job_id)

    def _forget_old(self) -> None:
        oldest = self._monotonic() - UNREAD_SECONDS
        with self._lock:
            self._unread = {k: since for k, since in self._unread.items() if since > oldest}


@contextmanager
def _failing_softly(job: Job) -> Iterator[None]:
    """Log a failure: jobs that are not retired now are retired after the next one."""
    try:
        yield
    except Exception as error:
        # It follows the end of a job, or runs in the background: it spoils nothing.
        _log.warning("older jobs like %s are not retired now: %s", job.job_id, error)
