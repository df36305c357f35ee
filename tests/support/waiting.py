"""Waiting for a condition: the only way in which tests wait for what happens elsewhere."""

import threading
import time
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds in which everything that a test waits for has happened, also on a busy machine.

Shorter than the 100 seconds and more that processes sleep in tests, so that `took less than this`
means `was ended`.
"""


def eventually(
    condition: Callable[[], object], what: str = "it", seconds: float = PATIENCE
) -> None:
    """Wait until the condition holds; fail after so many seconds and name what did not happen."""
    deadline = time.monotonic() + seconds
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        tick.wait(0.01)
