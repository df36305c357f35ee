"""The request of a run, and the checks that refuse it before anything starts."""

from dataclasses import dataclass
from typing import Any, Literal

from sqlrs_engine.errors import Conflict, InvalidArgument

from .arguments import connection_argument

RunKind = Literal["psql", "pgbench"]

_KINDS: dict[str, RunKind] = {"psql": "psql", "pgbench": "pgbench"}


@dataclass(frozen=True, slots=True)
class RunStep:
    """An invocation of the program: its arguments and standard input."""

    args: tuple[str, ...]
    stdin: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A program to run against an instance: once, or in steps.

    ``instance_ref`` is an instance id or a name. ``command`` names another program of the
    distribution's ``bin`` directory to run instead of that of ``kind``.
    """

    instance_ref: str
    kind: RunKind
    once: RunStep
    steps: tuple[RunStep, ...] = ()
    command: str | None = None

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> "RunRequest":
        """Read the body of ``POST /v1/runs``; ``null`` stands for absent.

        Raises InvalidArgument when the instance is missing or the kind of run is unknown.
        """
        ref = (body.get("instance_ref") or "").strip()
        if not ref:
            raise InvalidArgument("instance_ref is required")
        kind = _KINDS.get((body.get("kind") or "").strip().lower())
        if kind is None:
            raise InvalidArgument("unknown run kind", "use psql or pgbench")
        return cls(
            instance_ref=ref,
            kind=kind,
            once=_step(body),
            steps=tuple(map(_step, body.get("steps") or ())),
            command=(body.get("command") or "").strip() or None,
        )

    @property
    def program(self) -> str:
        """The name of the program to run."""
        return self.command or self.kind

    def invocations(self) -> tuple[RunStep, ...]:
        """Return the steps to run, one after another.

        This is not part of ``from_json`` because an unknown instance is reported before any of it.
        Raises Conflict when arguments name a connection, InvalidArgument when steps are combined
        with fields that they exclude.
        """
        for step in (self.once, *self.steps):
            argument = connection_argument(self.program, step.args)
            if argument is not None:
                raise Conflict(
                    f"conflicting {self.program} connection arguments",
                    f"{argument}: the engine connects to the instance itself, leave it out",
                )
        if not self.steps:
            return (self.once,)
        if self.kind != "psql":
            raise InvalidArgument("steps are only supported for run:psql")
        if self.once.args:
            raise InvalidArgument("steps cannot be combined with args")
        if self.once.stdin:
            raise InvalidArgument("steps cannot be combined with stdin")
        return self.steps


def _step(fields: dict[str, Any]) -> RunStep:
    return RunStep(tuple(fields.get("args") or ()), fields.get("stdin"))
