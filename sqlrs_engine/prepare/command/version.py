"""What ``version_command`` prints: it identifies a program in place of its file's content."""

import hashlib
import subprocess
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlrs_engine.errors import InvalidArgument, StepFailed
from sqlrs_engine.prepare.file_reads import FileRead
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.processes.output import Lines, Output
from sqlrs_engine.processes.program import Program, Stream

from .environment import Environment
from .program import resolve
from .runner import start

_REMEMBERED = 64
_LONGEST = 16 * 1024  # characters
# Where package managers replace files when they replace a version of a program.
_PACKAGES = ("node_modules", "node_modules/.package-lock.json")
_SITE_PACKAGES = "lib/python*/site-packages"


@dataclass(frozen=True, slots=True)
class _Known:
    version: str
    reads: tuple[FileRead, ...]


class Versions:
    """Runs version commands; remembers what they print. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[object, _Known] = OrderedDict()

    def of(
        self,
        argv: Sequence[str],
        work_dir: Path,
        environment: Environment,
        program: Path,
        cancellation: Cancellation,
    ) -> str:
        """Return what a version command prints; ``program`` is what it identifies.

        Its output is remembered while both programs, and the packages beside them and in
        ``work_dir``, are unchanged. Raises ProgramUnavailable, InvalidArgument, StepFailed when it
        fails or prints nothing, and what ``cancellation.check`` does.
        """
        path = resolve(argv[0], environment.path, work_dir)
        variables = environment.unconnected
        key = (tuple(argv), work_dir, frozenset(variables.items()), program)
        try:
            reads = tuple(_reads(path, program, work_dir))
        except OSError as error:
            raise InvalidArgument("cannot read file", str(error)) from error
        with self._lock:
            known = self._known.get(key)
        if known is not None and known.reads == reads:
            return known.version
        version = _run(argv, path, work_dir, variables, cancellation)
        with self._lock:
            self._known[key] = _Known(version, reads)
            self._known.move_to_end(key)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return version


def _reads(path: Path, program: Path, work_dir: Path) -> Iterator[FileRead]:
    for each in dict.fromkeys((path, program)):
        yield FileRead.now(each)
        for packages in sorted(each.parent.parent.glob(_SITE_PACKAGES)):
            yield FileRead.now(packages)
    for name in _PACKAGES:
        if (work_dir / name).exists():
            yield FileRead.now(work_dir / name)


def _run(
    argv: Sequence[str],
    path: Path,
    work_dir: Path,
    environment: dict[str, str],
    cancellation: Cancellation,
) -> str:
    printed, errors = _Printed(), _Printed()
    process = start(argv, path, work_dir, environment, stderr=subprocess.PIPE)
    outputs: dict[Stream, Output] = {"stdout": Lines(printed.add), "stderr": Lines(errors.add)}
    code = Program(process).follow(outputs, cancellation)
    cancellation.check()
    version = printed.version()
    if code == 0 and version:
        return version
    what = f"ended with code {code}" if code else "printed nothing"
    details = "\n".join([f"{argv[0]} {what}", *printed.last, *errors.last])
    raise StepFailed("version_command failed: correct it", details[: 8 * 1024])


class _Printed:
    """What a command prints: its beginning, its last lines, and a digest of all."""

    def __init__(self) -> None:
        self.last: deque[str] = deque(maxlen=20)
        self._start = ""
        self._digest = hashlib.sha256()
        self._is_long = False

    def add(self, line: str) -> None:
        """Receive a line."""
        self.last.append(line[:_LONGEST])
        self._digest.update(f"{line}\n".encode("utf-8", "surrogateescape"))
        self._start += f"{line[: _LONGEST + 1]}\n" if not self._is_long else ""
        self._is_long = len(self._start) > _LONGEST

    def version(self) -> str:
        """Return the text; of a long one the beginning, and a digest for all the rest."""
        if not self._is_long:
            return self._start.strip()
        return f"{self._start[:_LONGEST].strip()} sha256:{self._digest.hexdigest()}"
