"""Ctrl-C ends work that is under way cleanly; a second one ends the command."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from sqlrs_engine.processes.cancellation import Cancellation, Interrupted

from .terminal import Terminal


@contextlib.contextmanager
def interruptible(terminal: Terminal, what: str) -> Iterator[Cancellation]:
    """Yield a cancellation that Ctrl-C ends; then the block raises KeyboardInterrupt.

    ``what`` is the work as a noun, for the message.
    """
    cancellation = Cancellation()
    if threading.current_thread() is not threading.main_thread():
        yield cancellation
        return

    def end(number: int, frame: FrameType | None) -> None:
        if cancellation.ended:
            raise KeyboardInterrupt
        terminal.report(f"ending the {what} (press Ctrl-C again to end it at once)")
        cancellation.interrupt()

    before = signal.signal(signal.SIGINT, end)
    try:
        yield cancellation
    except Interrupted:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, before)
