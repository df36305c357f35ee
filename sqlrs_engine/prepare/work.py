"""What a step is done for: who may end it, who hears of it, where its files are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .control import Control

if TYPE_CHECKING:
    from .projection import Projection

OnLog = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Work:
    """The job that a plan or a build is for.

    ``projection`` has the files of a client on another machine.
    """

    control: Control
    log: OnLog
    projection: "Projection | None" = None
