"""Durations as Go writes them: ``2m0s``, ``1.5h``, ``500ms``, ``-1s``, ``0``.

The command line and the configuration speak this syntax; inside the engine a duration
is a number of seconds.
"""

import re
from decimal import Decimal

from sqlrs_engine.errors import InvalidArgument

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # micro sign
    "\u03bcs": 1_000,  # Greek letter mu
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
_LIMIT = 2**63  # nanoseconds, the range of Go's type: about 292 years
_LONGEST = 100  # characters: more than any duration needs


def parse(text: str) -> float:
    """Return the seconds of a duration such as ``1h30m`` or ``-250ms``.

    Raises InvalidArgument when the text is not a duration, or one beyond 292 years.
    """
    sign = -1 if text.startswith("-") else 1
    unsigned = text[1:] if text[:1] in ("-", "+") else text
    if unsigned == "0":
        return 0.0
    total = Decimal(0)
    position = 0
    if len(text) <= _LONGEST:
        while match := _PART.match(unsigned, position):
            total += Decimal(match[1]) * _NANOSECONDS[match[2]]
            position = match.end()
    if not position or position < len(unsigned) or total >= _LIMIT:
        raise InvalidArgument(
            "invalid duration",
            f"{text[:_LONGEST]!r} is not a duration: write it like 90s, 10m, 1h30m or 500ms",
        )
    return sign * float(total / 1_000_000_000)


def format(seconds: float) -> str:  # noqa: A001 (read as durations.format)
    """Return seconds as Go prints a duration: ``10m0s``, ``1.5s``, ``250ms``, ``0s``."""
    nanoseconds = round(abs(Decimal(str(seconds))) * 1_000_000_000)
    sign = "-" if seconds < 0 and nanoseconds else ""
    if not nanoseconds:
        return "0s"
    if nanoseconds < _NANOSECONDS["s"]:
        unit = next(u for u in ("ms", "\u00b5s", "ns") if nanoseconds >= _NANOSECONDS[u])
        return f"{sign}{_decimal(nanoseconds, _NANOSECONDS[unit])}{unit}"
    minutes, rest = divmod(nanoseconds, _NANOSECONDS["m"])
    hours, minutes = divmod(minutes, 60)
    shown = f"{_decimal(rest, _NANOSECONDS['s'])}s"
    if hours or minutes:
        shown = f"{minutes}m{shown}"
    if hours:
        shown = f"{hours}h{shown}"
    return sign + shown


def _decimal(nanoseconds: int, unit: int) -> str:
    """Write a count of units without trailing zeros."""
    whole, fraction = divmod(nanoseconds, unit)
    if not fraction:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{fraction:0{digits}d}".rstrip("0")
