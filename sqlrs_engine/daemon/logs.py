"""The engine's log: one line per record, ``key=value``, rotated, without secrets.

A line reads ``ts=… level=info logger=prepare msg="job 4f… succeeded"``. Text that looks like a
credential is replaced before the line is written, wherever it came from.
"""

import contextlib
import json
import logging
import logging.handlers
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path

from sqlrs_engine.control_characters import visible_json
from sqlrs_engine.host.private_directories import private_directory

MAX_BYTES = 8 * 1024 * 1024
KEEP = 3

_HELD_RECORDS = 1000
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_NAMES = {number: name for name, number in _LEVELS.items()} | {logging.CRITICAL: "error"}
_NAME = (
    r"(?:passw(?:or)?d|passphrase|pwd|secret|token|credentials?|cookie"
    r"|(?:api|access|account|private|secret)[_-]?key)"
)
# Up to the quote it began with, escaped or not, else up to what ends a bare word.
_VALUE = r"""(\\?["'])?(?(2)(?:''|(?!\2).)*|[^\s"',;&]+)"""
_PASSWORD_IN_URL = re.compile(r"(://[^\s:/@]*:).+@")


def _without_password(url: re.Match[str]) -> str:
    return _PASSWORD_IN_URL.sub(r"\1***@", url[0]) if url[0].endswith("@") else url[0]


_SECRETS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    # All up to an @ or a space at once, so that no text takes more than linear time.
    (re.compile(r"://[^\s@]*+@?"), _without_password),
    (
        re.compile(r"(?i)\b(authorization\\?[\"']?\s*[:=]\s*\\?[\"']?[a-z]+\s+)[^\"'\r\n]+"),
        r"\1***",
    ),
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]+"), r"\1***"),
    (re.compile(r"\b([Bb]asic\s+)(?=\S*[A-Z0-9+/=])[\w+/-]{6,}=*"), r"\1***"),
    (re.compile(rf"(?i)({_NAME}\\?[\"']?\s*(?:=>|:=|[=:])\s*){_VALUE}"), r"\1\2***"),
    (re.compile(rf"(?i)(--?{_NAME}\s+){_VALUE}"), r"\1\2***"),
    (re.compile(r"""(?i)\b(password\s+)(?:U&|E)?(?:'(?:[^'\\]|''|\\.)*'?|"[^"]*"?)"""), r"\1***"),
    (re.compile(r"(?i)\b(password\s+)(\$\w*\$).*?(?:\2|$)", re.DOTALL), r"\1***"),
    (re.compile(r"SCRAM-SHA-256\$[\w+/=:$]+"), "***"),
)
# Each text that a pattern matches contains at least one of these.
_SIGNS = ("://", "authorization", "bearer", "basic", "pass", "pwd", "token", "secret", "credential",
          "cookie", "key", "scram")  # fmt: skip
_PACKAGE = __name__.partition(".")[0]


def redact(text: str) -> str:
    """Return ``text`` with passwords and tokens replaced by ``***``."""
    folded = text.casefold()
    if any(sign in folded for sign in _SIGNS):  # most lines contain none
        for pattern, replacement in _SECRETS:
            text = pattern.sub(replacement, text)
    return text


class LineFormatter(logging.Formatter):
    """Formats a record as one line; newlines of messages and tracebacks are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its newline."""
        when = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        level = _NAMES.get(record.levelno, record.levelname.lower())
        logger = record.name.removeprefix(f"{_PACKAGE}.")
        line = f"ts={when} level={level} logger={logger} msg={_quote(redact(record.getMessage()))}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += f" error={_quote(redact(trace))}"
        return line


class PrivateRotatingFile(logging.handlers.RotatingFileHandler):
    """A rotated log file that only its owner can read and that is never a symlink."""

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self.baseFilename, flags, 0o600)
        # The file may exist already: clients append the output of the engines they start.
        if stat.S_IMODE(os.fstat(fd).st_mode) != 0o600:
            os.fchmod(fd, 0o600)
        return open(fd, "a", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, formatting it once: the base class formats twice, and requests are many."""
        try:
            line = self.format(record) + self.terminator
            if self.stream is None:
                self.stream = self._open()
            if self.stream.tell() + len(line.encode(errors="backslashreplace")) > self.maxBytes:
                self.doRollover()
            self.stream.write(line)
            self.flush()
        except Exception:
            # As every handler of logging does.
            self.handleError(record)


def set_level(name: str | None) -> None:
    """Log records of level ``name`` (debug, info, warn, error) and above."""
    level = _LEVELS.get((name or "debug").strip().lower(), logging.DEBUG)
    logging.getLogger(_PACKAGE).setLevel(level)


class QuietStart(logging.handlers.MemoryHandler):
    """Holds the log back until the start is over or a warning is logged.

    The sqlrs CLI copies to the terminal everything that the engine logs while it starts.
    """

    def __init__(self, target: logging.Handler) -> None:
        super().__init__(_HELD_RECORDS, logging.WARNING, target)

    def stop_holding(self) -> None:
        """Write the records held back, and write later records immediately."""
        self.capacity = 0
        self.flush()


@contextlib.contextmanager
def logging_to(path: Path, level: str | None = None) -> Iterator[QuietStart]:
    """Send the process's log to ``path``, and to standard error when that is a terminal.

    Yields the handler that holds records below a warning back until its ``stop_holding`` is called.
    """
    private_directory(path.parent, "the directory of the log")
    file = PrivateRotatingFile(path, maxBytes=MAX_BYTES, backupCount=KEEP, encoding="utf-8")
    file.setFormatter(LineFormatter())
    quiet = QuietStart(file)
    handlers: list[logging.Handler] = [quiet]
    if sys.stderr is not None and sys.stderr.isatty():
        handlers.append(logging.StreamHandler(sys.stderr))
    root = logging.getLogger()
    for handler in handlers:
        handler.setFormatter(LineFormatter())
        root.addHandler(handler)
    set_level(level)
    try:
        yield quiet
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
        file.close()


def _quote(text: str) -> str:
    return visible_json(json.dumps(text, ensure_ascii=False))
