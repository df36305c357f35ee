"""The end of a job: its row becomes terminal together with its last events."""

import errno
import logging
from dataclasses import dataclass
from typing import Any

from sqlrs_engine.clock import Clock
from sqlrs_engine.errors import DISK_FULL, ENGINE_FAILED, EngineError, StorageFull
from sqlrs_engine.host.file_descriptors import shortage
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.store import JobStore
from sqlrs_engine.store.records import Job, JobStatus, Json

from .events import EventLog, encode_event
from .services import Services

RETRY_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class End:
    """The outcome of a job: a result, an error, or neither when it was plan-only."""

    status: JobStatus
    result: Json | None = None
    error: Json | None = None

    @classmethod
    def failure(cls, error: EngineError) -> "End":
        """Return the end of a job that failed."""
        return cls("failed", error=error.as_dict())

    def store(self, job_id: str, jobs: JobStore, events: EventLog, clock: Clock) -> Job | None:
        """Make a job terminal and close its event log; return the record.

        No reader sees the last events before the row is terminal: they are stored in one
        transaction. A job that is already terminal stays as it is; None when it is gone.

        Raises StorageFull or Unavailable when this cannot be stored, TypeError or ValueError
        when JSON cannot express the result or the error. The log stays open then.
        """
        first = events.flush(job_id)
        job = jobs.finish(
            job_id,
            self.status,
            clock(),
            result=self.result,
            error=self.error,
            first_event=first,
            events=[encode_event(clock(), kind, fields) for kind, fields in self._events()],
        )
        events.close(job_id)
        return job

    def store_eventually(
        self, job_id: str, services: Services, cancellation: Cancellation
    ) -> Job | None:
        """Store the end as soon as the store accepts it.

        A failure may be temporary: the disk is full or does not answer, or the process has no
        descriptor left. Returns None when the engine stops before, or when the job is gone.
        """
        end, logged = self, False
        while True:
            try:
                return end.store(job_id, services.jobs, services.events, services.clock)
            except Exception as problem:
                # A job has to end, so whatever it is, it is tried again.
                if not logged:
                    _log.warning("the end of job %s waits: %s", job_id, problem)
                    logged = True
                if isinstance(problem, TypeError | ValueError) and end != _INEXPRESSIBLE:
                    _log.error("JSON cannot express the end of job %s", job_id, exc_info=problem)
                    end = _INEXPRESSIBLE
                    continue
                if cancellation.interrupted_within(RETRY_SECONDS):
                    _log.error("job %s is left for the next start: %s", job_id, problem)
                    return None

    def _events(self) -> list[tuple[str, dict[str, Any]]]:
        found: list[tuple[str, dict[str, Any]]] = [("status", {"status": self.status})]
        if self.result is not None:
            found.append(("result", {"result": self.result}))
        if self.error is not None:
            found.append(("error", {"error": self.error}))
        return found


# Replaces an end that JSON cannot express.
_INEXPRESSIBLE = End.failure(
    EngineError(ENGINE_FAILED, "the outcome of the job could not be stored")
)


def explained(error: Exception, job_id: str) -> EngineError:
    """Return a job's failure as users see it; an unforeseen one goes to the log."""
    lack = shortage(error)
    if lack is not None:
        _log.error("job %s: %s: %s", job_id, lack, error)
        return lack
    if isinstance(error, EngineError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(DISK_FULL, str(error))
    _log.error("job %s broke", job_id, exc_info=error)
    return EngineError(ENGINE_FAILED, str(error) or None)
