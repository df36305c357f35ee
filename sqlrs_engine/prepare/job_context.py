"""The part of a job that its plan and steps use."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlrs_engine.processes.cancellation import Cancellation

OnLog = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class JobContext:
    """A job's cancellation, and the function that receives its log messages."""

    cancellation: Cancellation
    log: OnLog
