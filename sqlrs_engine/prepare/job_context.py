"""What a step is done for: who may end it, who hears of it, where its files are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlrs_engine.processes.cancellation import Cancellation

if TYPE_CHECKING:
    from .psql.staged_files import StagedFiles

OnLog = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class JobContext:
    """The job that a plan or a build is for.

    ``projection`` has the files of a client on another machine.
    """

    control: Cancellation
    log: OnLog
    projection: "StagedFiles | None" = None
