"""What plans and steps get of the job they are for."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlrs_engine.processes.cancellation import Cancellation

OnLog = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class JobContext:
    """What may end a job, and where its messages go."""

    cancellation: Cancellation
    log: OnLog
