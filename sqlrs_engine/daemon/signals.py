"""Signals that end the engine, before its HTTP server handles them."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextlib.contextmanager
def ending_cleanly() -> Iterator[None]:
    """Let a signal end the process cleanly, with exit code 0, during the start as well.

    A signal that is ignored (``nohup``) stays ignored. Outside the main thread, which alone
    receives signals, nothing happens.
    """

    def leave(_number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(0)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    before = {number: was for number, was in before.items() if was is not signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, leave)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
