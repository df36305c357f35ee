"""Reads a run the way the HTTP layer does."""

import threading
import time
from collections.abc import Callable
from typing import Any

from sqlrs_engine.runs import Run
from support.waiting import PATIENCE

Events = list[dict[str, Any]]


class RunReader:
    """Starts a run and gathers its events."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.woken = threading.Event()
        self.events: Events = []
        run.start(self.woken.set)

    def until(self, condition: Callable[[Events], object]) -> None:
        """Read until there are events for which the condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition(self.events):
            self.events += self.run.take()
            if self.run.finished:
                assert condition(self.events), self.events
                return
            if not self.events or not condition(self.events):
                assert self.woken.wait(deadline - time.monotonic()), self.events
                self.woken.clear()

    def rest(self) -> Events:
        """Read to the end and return all events."""
        self.until(lambda events: self.run.finished)
        return self.events


def text(events: Events, kind: str = "stdout") -> str:
    """Return the output in events of one kind."""
    return "".join(event["data"] for event in events if event["type"] == kind)
