"""The psql arguments of a request: which are allowed, and the steps that they make.

Each ``-f`` and each ``-c`` is a step. The other options apply to all steps, wherever they stand:
psql reads its whole command line before it runs the first input (``startup.c``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlrs_engine.errors import InvalidArgument

from .options import Option, parse, spelled

InputKind = Literal["file", "command", "stdin", "nothing"]

STDIN = "-"
_STOP = "ON_ERROR_STOP"
# Every step has these, whatever the user gives: see `PsqlArguments.parse`.
_ALWAYS = ("-X", "-v", f"{_STOP}=1")


@dataclass(frozen=True, slots=True)
class Input:
    """An input that psql runs; ``text`` is the path of a file or a command, otherwise empty."""

    kind: InputKind
    text: str = ""

    def arguments(self) -> tuple[str, ...]:
        """Return the input as psql arguments."""
        if self.kind == "nothing":
            return ()
        if self.kind == "command":
            return "-c", self.text
        return "-f", STDIN if self.kind == "stdin" else self.text


@dataclass(frozen=True, slots=True)
class StepArguments:
    """The options of one psql invocation, in order, and its input."""

    options: tuple[tuple[str, str | None], ...]
    input: Input

    def command_line(self) -> list[str]:
        """Return all arguments of psql; ``-X`` and ``ON_ERROR_STOP`` come first."""
        line = list(_ALWAYS)
        for letter, value in self.options:
            line += spelled(letter, value)
        return [*line, *self.input.arguments()]

    def summary(self) -> str:
        """Return the input as users recognise it: ``-f /srv/schema.sql``."""
        return " ".join(self.input.arguments())


@dataclass(frozen=True, slots=True)
class PsqlArguments:
    """The steps of a request, and its arguments as they are shown."""

    steps: tuple[StepArguments, ...]
    normalized: str

    @classmethod
    def parse(
        cls, args: Sequence[str], stdin: str | None, resolve: Callable[[str], str]
    ) -> "PsqlArguments":
        """Parse the arguments; ``resolve`` checks the path of a file and returns it.

        psql never reads a start-up file and always stops at the first error. Raises
        InvalidArgument for arguments that are not allowed, for a file that cannot be read, and
        for standard input without ``-f -`` or the reverse.
        """
        options: list[tuple[str, str | None]] = []
        inputs: list[Input] = []
        no_psqlrc = stops = False
        for option in parse(args):
            given = _input(option, resolve)
            if given is not None:
                inputs.append(given)
            elif option.letter == "X":
                no_psqlrc = True
            elif option.letter == "v" and _is_stop(option):
                stops = True
            else:
                options.append((option.letter, option.value))
        _check_stdin(inputs, stdin)
        shown = [argument for argument in args if argument]
        shown += [] if no_psqlrc else ["-X"]
        shown += [] if stops else ["-v", f"{_STOP}=1"]
        steps = (StepArguments(tuple(options), each) for each in inputs or [Input("nothing")])
        return cls(tuple(steps), " ".join(shown))

    def directory(self) -> Path | None:
        """Return the directory of the first file, None if there is none."""
        files = (Path(step.input.text) for step in self.steps if step.input.kind == "file")
        return next((file.parent for file in files), None)


def _input(option: Option, resolve: Callable[[str], str]) -> Input | None:
    value = option.value or ""
    if option.letter == "c":
        return Input("command", value)
    if option.letter != "f":
        return None
    if value == STDIN:
        return Input("stdin")
    if not value.strip():
        raise InvalidArgument("file path is empty")
    return Input("file", resolve(value))


def _is_stop(option: Option) -> bool:
    """Return whether a variable is ON_ERROR_STOP. Raises InvalidArgument unless it is on."""
    name, separator, value = (option.value or "").partition("=")
    if name.upper() != _STOP:
        return False
    if value != "1":
        raise InvalidArgument(f"{_STOP} must be set to 1", value if separator else None)
    return True


def _check_stdin(inputs: Sequence[Input], stdin: str | None) -> None:
    reads = sum(given.kind == "stdin" for given in inputs)
    if reads and stdin is None:
        raise InvalidArgument("stdin is required when using -f -")
    if stdin and not reads:
        raise InvalidArgument("stdin is only valid with -f -")
    if reads > 1:
        raise InvalidArgument("stdin can be read only once: use -f - for one input")
