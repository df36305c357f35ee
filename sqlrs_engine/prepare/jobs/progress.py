"""The tasks of a job under way: their rows, their events and their metrics."""

from collections.abc import Sequence

from sqlrs_engine.errors import EngineError
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.prepare.tasks import PLAN, RESOLVE_IMAGE
from sqlrs_engine.store import JobStore
from sqlrs_engine.store.records import Task

from .events import EventLog


class Progress:
    """Records the progress of one job; used by the job's thread alone."""

    def __init__(self, job_id: str, jobs: JobStore, events: EventLog, metrics: Metrics) -> None:
        self._job_id = job_id
        self._jobs = jobs
        self._events = events
        self._metrics = metrics
        self._types: dict[str, str] = {}
        self._current: str | None = None
        # The tasks that the store knows to have succeeded, or learns of with the job's end.
        self._settled: set[str] = set()

    def log(self, message: str) -> None:
        """Add a message to the job's events."""
        self._events.append(self._job_id, "log", message=message)

    def job_runs(self) -> None:
        """Record that the job runs."""
        self._events.append(self._job_id, "status", status="running")

    def planned(self, tasks: Sequence[Task]) -> None:
        """Record that planning made these tasks, which are stored by now."""
        self._types = {task.task_id: task.type for task in tasks}
        self._settled = {task.task_id for task in tasks if task.status == "succeeded"}
        for task_id in (PLAN, RESOLVE_IMAGE):
            if task_id in self._types:
                self._task_event(task_id, "running")
                self.succeeded(task_id)

    def only_planned(self, tasks: Sequence[Task]) -> None:
        """Record that the job ends with its plan: all tasks succeed with it."""
        self._types = {task.task_id: task.type for task in tasks}
        self._settled = set(self._types)
        for task in tasks:
            self.succeeded(task.task_id)

    def begin(self, task_id: str) -> None:
        """Record that a task runs."""
        self._current = task_id
        self._settled.discard(task_id)
        self._jobs.update_task(self._job_id, task_id, status="running")
        self._task_event(task_id, "running")

    def succeeded(self, task_id: str, *, with_job: bool = False) -> None:
        """Record that a task has succeeded; with ``with_job``, the end of the job stores this."""
        self._current = None
        self._count(task_id, "succeeded")
        if not with_job and task_id not in self._settled:
            self._jobs.update_task(self._job_id, task_id, status="succeeded")
        self._task_event(task_id, "succeeded")

    def failed(self, error: EngineError) -> None:
        """Record that the running task, if any, has failed."""
        if self._current is not None:
            self._count(self._current, "failed")
            self._events.append(
                self._job_id,
                "task",
                task_id=self._current,
                status="failed",
                message=error.message,
                error=error.as_dict(),
            )

    def _task_event(self, task_id: str, status: str) -> None:
        self._events.append(self._job_id, "task", task_id=task_id, status=status)

    def _count(self, task_id: str, status: str) -> None:
        self._metrics.task_ended(self._types[task_id], status)
