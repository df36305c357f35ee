"""A program that runs in a process group of its own, and what it prints."""

import codecs
import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import IO, Literal

Popen = subprocess.Popen[bytes]
Pipe = Literal["stdout", "stderr"]
OnText = Callable[[Pipe, str], None]

LEFTOVER_SECONDS = 1.0

_READ_BYTES = 32 * 1024
_PIPE_BYTES = 64 * 1024  # what a pipe holds


class Program:
    """A started process that leads its process group, its output in pipes.

    One thread reads it to its end; any thread may send it signals.
    """

    def __init__(self, process: Popen) -> None:
        """Raises OSError when there are too many open files; the process is gone then."""
        self._process = process
        try:
            self._handle = os.pidfd_open(process.pid)
        except OSError:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        self._group = threading.Lock()
        self._is_reaped = self._is_stopping = False

    def stop(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, and leave nothing of it when the program ends."""
        self._is_stopping = True
        self._send(number)

    def read(self, on_text: OnText) -> int:
        """Hand over the output as it comes, valid text whatever it is; return the exit code.

        The program's end is the end of its group. Processes it left behind have
        ``LEFTOVER_SECONDS`` to close its pipes, then they are killed; what is in the
        pipes by then is still handed over. A program ended by signal n has the code
        128 + n, as in a shell.
        """
        try:
            with selectors.DefaultSelector() as selector:
                self._register(selector)
                self._read_until_end(selector, on_text)
                self._send(signal.SIGKILL)
                _drain(selector, on_text)
        finally:
            code = self._reap()
        return code if code >= 0 else 128 - code

    def _register(self, selector: selectors.BaseSelector) -> None:
        pipes: tuple[tuple[IO[bytes] | None, Pipe], ...] = (
            (self._process.stdout, "stdout"),
            (self._process.stderr, "stderr"),
        )
        for pipe, name in pipes:
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, _Decoder(name))
        selector.register(self._handle, selectors.EVENT_READ)

    def _read_until_end(self, selector: selectors.BaseSelector, on_text: OnText) -> None:
        """Read until the program has ended and its pipes are closed, or had time to be."""
        deadline: float | None = None
        while selector.get_map():
            timeout = None if deadline is None else deadline - time.monotonic()
            if timeout is not None and timeout <= 0:
                return
            for key, _ in selector.select(timeout):
                if key.data is not None:
                    _read_once(selector, key, on_text)
                    continue
                selector.unregister(key.fileobj)
                leftover = 0.0 if self._is_stopping else LEFTOVER_SECONDS
                deadline = time.monotonic() + leftover

    def _send(self, number: signal.Signals) -> None:
        with self._group, contextlib.suppress(ProcessLookupError, PermissionError):
            # Until the leader is reaped, the group's number cannot pass to another.
            if not self._is_reaped:
                os.killpg(self._process.pid, number)

    def _reap(self) -> int:
        self._send(signal.SIGKILL)
        os.waitid(os.P_PIDFD, self._handle, os.WEXITED | os.WNOWAIT)
        with self._group:
            code = self._process.wait()
            self._is_reaped = True
        os.close(self._handle)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        return code


class _Decoder:
    """Turns what is read from a pipe into text; a character may come in two reads."""

    def __init__(self, name: Pipe) -> None:
        self.name = name
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode

    def pass_on(self, chunk: bytes, on_text: OnText) -> None:
        """Hand over the text so far; nothing read is the end."""
        text = self._decode(chunk, final=not chunk)
        if text:
            on_text(self.name, text)


def _read_once(
    selector: selectors.BaseSelector, key: selectors.SelectorKey, on_text: OnText
) -> int:
    """Read a pipe that has something, or has ended; return how many bytes there were."""
    chunk = os.read(key.fd, _READ_BYTES)
    if not chunk:
        selector.unregister(key.fileobj)
    key.data.pass_on(chunk, on_text)
    return len(chunk)


def _drain(selector: selectors.BaseSelector, on_text: OnText) -> None:
    """Read what is left in pipes that somebody out of reach may still hold open."""
    room = {key.fd: _PIPE_BYTES for key in selector.get_map().values()}
    while ready := [key for key, _ in selector.select(0) if key.data and room[key.fd] > 0]:
        for key in ready:
            room[key.fd] -= _read_once(selector, key, on_text)
    for key in list(selector.get_map().values()):
        if key.data:
            key.data.pass_on(b"", on_text)
