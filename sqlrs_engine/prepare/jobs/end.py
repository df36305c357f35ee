"""How a job ends: its row becomes terminal together with its last events."""

from dataclasses import dataclass
from typing import Any

from sqlrs_engine.clock import Clock
from sqlrs_engine.errors import EngineError
from sqlrs_engine.store import JobStore
from sqlrs_engine.store.records import Job, JobStatus, Json

from .events import EventLog, encode_event


@dataclass(frozen=True, slots=True)
class End:
    """How a job ends: with a result, with an error, or as a plan with neither."""

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

        Raises StorageFull or Unavailable when this cannot be stored, TypeError or ValueError when
        the result or the error is no JSON. The log stays open then.
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

    def _events(self) -> list[tuple[str, dict[str, Any]]]:
        found: list[tuple[str, dict[str, Any]]] = [("status", {"status": self.status})]
        if self.result is not None:
            found.append(("result", {"result": self.result}))
        if self.error is not None:
            found.append(("error", {"error": self.error}))
        return found
