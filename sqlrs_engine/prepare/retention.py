"""How long finished jobs are kept. Their states and instances are not touched.

Of the jobs with identical inputs the latest few stay (``orchestrator.jobs.maxIdentical``).
A job whose outcome nobody has read yet is spared for a minute: many clients may prepare the
same at the same time, and each wants its own answer.
"""

import math
import threading
import time
from collections.abc import Callable

from ..store import JobStore
from ..store.records import Job

MAX_IDENTICAL = "orchestrator.jobs.maxIdentical"
UNREAD_SECONDS = 60.0


class Retention:
    """Deletes the rows of jobs that are beyond the limit."""

    def __init__(
        self,
        jobs: JobStore,
        limit: Callable[[], int],
        followed: Callable[[str], bool],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``limit`` is the number of identical jobs to keep, 0 for all.

        ``followed`` tells whether a client follows a job's events just now.
        """
        self._jobs = jobs
        self._limit = limit
        self._followed = followed
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._unread: dict[str, float] = {}

    def started(self, job_id: str) -> None:
        """Take note of a job whose end somebody will want to read.

        Not when it ends: a client may read the end before that is noted.
        """
        with self._lock:
            self._unread[job_id] = math.inf

    def finished(self, job: Job) -> None:
        """Take note of a job that has just ended, and retire older ones like it."""
        with self._lock:
            if job.job_id in self._unread:
                self._unread[job.job_id] = self._monotonic()
        self._retire(job.signature)

    def gone(self, job_id: str) -> None:
        """Forget a job that did not end: it was deleted, or is left for the next start."""
        with self._lock:
            self._unread.pop(job_id, None)

    def is_unread(self, job_id: str) -> bool:
        """Tell whether no client has seen yet how a job ended."""
        with self._lock:
            return job_id in self._unread

    def read(self, job: Job) -> None:
        """Take note that a client has seen how a job ended."""
        with self._lock:
            unread = self._unread.pop(job.job_id, None) is not None
        if unread:
            self._retire(job.signature)

    def _retire(self, signature: str | None) -> None:
        limit = self._limit()
        if signature is None or not limit:
            return
        self._forget_old()
        for job in self._jobs.finished_with(signature)[limit:]:
            if job.job_id not in self._unread and not self._followed(job.job_id):
                self._jobs.remove(job.job_id)

    def _forget_old(self) -> None:
        oldest = self._monotonic() - UNREAD_SECONDS
        with self._lock:
            self._unread = {k: since for k, since in self._unread.items() if since > oldest}
