"""What a run asks for, and which requests are refused before anything starts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import Conflict, InvalidArgument

RunKind = Literal["psql", "pgbench"]

_SHORT_CONNECTION_FLAGS = ("-h", "-p", "-U", "-d")
_LONG_CONNECTION_FLAGS = ("--host", "--port", "--username", "--dbname")
_PSQL_ONLY_FLAGS = ("--database",)
# Short options that take a value; bundles such as `-Atc` end in one (psql(1), pgbench(1)).
_VALUE_LETTERS = {"psql": "cfvoPFRTL", "pgbench": "bcDfFIjLMPRstT"}


@dataclass(frozen=True, slots=True)
class RunStep:
    """One invocation of the program: its arguments and standard input."""

    args: tuple[str, ...]
    stdin: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A program to run against an instance, once or in steps.

    ``instance_ref`` is an instance id or a name. ``command`` replaces the program by
    another one of the distribution's ``bin`` directory.
    """

    instance_ref: str
    kind: RunKind
    steps: tuple[RunStep, ...]
    command: str | None = None

    @property
    def program(self) -> str:
        """The name of the program to run."""
        return self.command or self.kind

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> "RunRequest":
        """Read the body of ``POST /v1/runs``; ``null`` stands for absent.

        Raises InvalidArgument for a request that cannot be right and Conflict for
        arguments that name a connection of their own.
        """
        ref = (body.get("instance_ref") or "").strip()
        if not ref:
            raise InvalidArgument("instance_ref is required")
        kind = (body.get("kind") or "").strip().lower()
        if kind not in ("psql", "pgbench"):
            raise InvalidArgument("unknown run kind", f"{kind!r} is neither psql nor pgbench")
        request = cls(
            instance_ref=ref,
            kind=kind,
            steps=_steps(body, kind),
            command=(body.get("command") or "").strip() or None,
        )
        for step in request.steps:
            _refuse_connection_arguments(kind, step.args)
        return request


def _steps(body: dict[str, Any], kind: str) -> tuple[RunStep, ...]:
    args, stdin, steps = body.get("args") or [], body.get("stdin"), body.get("steps") or []
    if not steps:
        return (RunStep(tuple(args), stdin),)
    if kind != "psql":
        raise InvalidArgument("steps are only supported for run:psql")
    if args:
        raise InvalidArgument("steps cannot be combined with args")
    if stdin:
        raise InvalidArgument("steps cannot be combined with stdin")
    return tuple(RunStep(tuple(step.get("args") or []), step.get("stdin")) for step in steps)


def _refuse_connection_arguments(kind: str, args: tuple[str, ...]) -> None:
    long_flags = _LONG_CONNECTION_FLAGS + (_PSQL_ONLY_FLAGS if kind == "psql" else ())
    for arg in _without_values(kind, args):
        is_url = kind == "psql" and not arg.startswith("-") and "://" in arg
        if is_url or arg.startswith(_SHORT_CONNECTION_FLAGS) or arg.partition("=")[0] in long_flags:
            raise Conflict(
                f"conflicting {kind} connection arguments",
                f"{arg}: the engine connects {kind} to the instance itself; leave it out",
            )


def _without_values(kind: str, args: tuple[str, ...]) -> Iterator[str]:
    """Yield the arguments that are not the separate value of a short option.

    SQL after ``-c`` may well hold a URL, and that is nobody's connection.
    """
    takes_value = False
    for arg in args:
        if takes_value:
            takes_value = False
            continue
        is_bundle = len(arg) >= 2 and arg[0] == "-" and arg[1] != "-"
        takes_value = is_bundle and arg[-1] in _VALUE_LETTERS[kind]
        yield arg
