"""The flags with which clients start the engine: Go's syntax, no subcommand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlrs_engine import durations
from sqlrs_engine.errors import InvalidArgument

DEFAULT_IDLE_SECONDS = 30.0
DEFAULT_VERSION = "dev"
_FLAGS = ("run-dir", "listen", "write-engine-json", "idle-timeout", "version")


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonFlags:
    """The parsed flags; ``idle_timeout`` is in seconds; 0 or less means never."""

    listen: str
    engine_file: Path
    run_dir: Path | None = None
    idle_timeout: float = DEFAULT_IDLE_SECONDS
    version: str = DEFAULT_VERSION


def parse(argv: Sequence[str]) -> DaemonFlags:
    """Parse ``-x v``, ``--x v``, ``-x=v`` and ``--x=v``; the last value of a flag counts.

    Raises InvalidArgument for an unknown flag, a missing value or a missing flag.
    """
    values = _split(argv)
    for name in ("listen", "write-engine-json"):
        if not values.get(name):
            raise InvalidArgument(f"missing required flag: --{name}")
    run_dir = values.get("run-dir")
    return DaemonFlags(
        listen=values["listen"],
        engine_file=Path(values["write-engine-json"]).absolute(),
        run_dir=Path(run_dir).absolute() if run_dir else None,
        idle_timeout=_idle_timeout(values),
        version=values.get("version") or DEFAULT_VERSION,
    )


def _split(argv: Sequence[str]) -> Mapping[str, str]:
    values: dict[str, str] = {}
    rest = iter(argv)
    for argument in rest:
        name, separator, value = argument.removeprefix("-").removeprefix("-").partition("=")
        if not argument.startswith("-") or not name or name.startswith("-"):
            raise InvalidArgument(f"unexpected argument: {argument} (see sqlrs-engine --help)")
        if name not in _FLAGS:
            raise InvalidArgument(f"unknown flag: {argument} (see sqlrs-engine --help)")
        if not separator:
            following = next(rest, None)
            if following is None:
                raise InvalidArgument(f"flag needs a value: {argument}")
            value = following
        values[name] = value
    return values


def _idle_timeout(values: Mapping[str, str]) -> float:
    text = values.get("idle-timeout")
    if text is None:
        return DEFAULT_IDLE_SECONDS
    try:
        return durations.parse(text)
    except InvalidArgument as error:
        raise InvalidArgument(
            f"invalid --idle-timeout {text!r}: write a duration such as 2m0s, 90s or 0"
        ) from error
