"""How long finished jobs are kept. Their states and instances are not touched.

Of the jobs with identical inputs the latest few stay (``orchestrator.jobs.maxIdentical``),
of all jobs the latest many (``maxFinished``), and none for ever (``maxAge``).
A job whose outcome nobody has read yet is spared for a minute: many clients may prepare the
same at the same time, and each wants its own answer.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable

from sqlrs_engine.clock import Timestamp
from sqlrs_engine.store import JobStore
from sqlrs_engine.store.records import Job

MAX_IDENTICAL = "orchestrator.jobs.maxIdentical"
MAX_FINISHED = "orchestrator.jobs.maxFinished"
MAX_AGE = "orchestrator.jobs.maxAge"
AT_ONCE = 200
UNREAD_SECONDS = 60.0


class Retention:
    """Deletes the rows of jobs that are beyond the limit."""

    def __init__(
        self,
        jobs: JobStore,
        limit: Callable[[], int],
        followed: Callable[[str], bool],
        *,
        most: Callable[[], int] = lambda: 0,
        oldest: Callable[[], Timestamp | None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``limit`` is the number of identical jobs to keep, 0 for all.

        ``most`` is the number of finished jobs to keep in all, 0 for all; those that were
        over by ``oldest`` go in any case. ``followed`` tells whether a client follows a
        job's events just now.
        """
        self._jobs = jobs
        self._limit = limit
        self._followed = followed
        self._most = most
        self._oldest = oldest
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._unread: dict[str, float] = {}

    def started(self, job_id: str) -> None:
        """Note a job whose end somebody will want to read.

        Not when it ends: a client may read the end before that is noted.
        """
        with self._lock:
            self._unread[job_id] = math.inf

    def finished(self, job: Job) -> None:
        """Note a job that has just ended, and retire older ones like it."""
        with self._lock:
            if job.job_id in self._unread:
                self._unread[job.job_id] = self._monotonic()
        self._retire(job.signature)
        self.retire_old()

    def retire_old(self) -> None:
        """Retire the jobs that are too old or too many, up to ``AT_ONCE`` of each kind."""
        self._forget_old()
        moment, most = self._oldest(), self._most()
        if moment is not None:
            self._remove(self._jobs.finished_before(moment, AT_ONCE))
        if most:
            self._remove(self._jobs.finished_beyond(most, AT_ONCE))

    def gone(self, job_id: str) -> None:
        """Forget a job that did not end: it was deleted, or is left for the next start."""
        with self._lock:
            self._unread.pop(job_id, None)

    def is_unread(self, job_id: str) -> bool:
        """Return whether no client has seen yet how a job ended."""
        with self._lock:
            return job_id in self._unread

    def read(self, job: Job) -> None:
        """Note that a client has seen how a job ended."""
        with self._lock:
            unread = self._unread.pop(job.job_id, None) is not None
        if unread:
            self._retire(job.signature)

    def _retire(self, signature: str | None) -> None:
        limit = self._limit()
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
