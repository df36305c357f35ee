"""Writes new states to the disk in the background, so that jobs do not wait for it."""

import logging
import threading

from .states import States

_log = logging.getLogger(__name__)


class Durability:
    """Makes states durable on request."""

    def __init__(self, states: States) -> None:
        self._states = states
        self._wanted = threading.Event()
        self._stopping = False
        threading.Thread(target=self._run, name="durability", daemon=True).start()

    def request(self) -> None:
        """Schedule the write of all states published so far."""
        self._wanted.set()

    def stop(self) -> None:
        """End the thread; what may not have reached the disk is written after the next start."""
        self._stopping = True
        self._wanted.set()

    def _run(self) -> None:
        while self._wanted.wait() and not self._stopping:
            self._wanted.clear()
            try:
                self._states.make_durable()
            except Exception:
                # The thread lives on: the next state asks for it again.
                _log.exception("states are not known to be on the disk yet")
