"""Time as the engine stores and shows it: RFC 3339 text, UTC, microseconds.

A fixed width makes timestamps sort as text, in SQLite and in Python alike, so a
``Timestamp`` is a plain string such as ``2026-03-01T09:30:00.000000Z``.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Timestamp = str
Clock = Callable[[], Timestamp]

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def utc_now() -> Timestamp:
    """Return the current time; the engine's default ``Clock``."""
    return datetime.now(UTC).isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"


def parse(timestamp: Timestamp) -> datetime:
    """Return the aware datetime of a ``Timestamp`` made by this module."""
    return datetime.strptime(timestamp, _FORMAT).replace(tzinfo=UTC)


def at(seconds: float) -> Timestamp:
    """Return the ``Timestamp`` of a number of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime(_FORMAT)


def shift(timestamp: Timestamp, seconds: float) -> Timestamp:
    """Return ``timestamp`` moved by ``seconds``, which may be negative."""
    return (parse(timestamp) + timedelta(seconds=seconds)).strftime(_FORMAT)


def seconds_between(earlier: Timestamp, later: Timestamp) -> float:
    """Return ``later - earlier`` in seconds."""
    return (parse(later) - parse(earlier)).total_seconds()
