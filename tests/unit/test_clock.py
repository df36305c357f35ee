import re
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from sqlrs_engine import clock

NEW_YEAR = "2026-01-01T00:00:00.000000Z"


def test_now_is_utc_text_of_fixed_width() -> None:
    now = clock.utc_now()

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", now)
    assert abs((clock.parse(now) - datetime.now(UTC)).total_seconds()) < 60


def test_parse_gives_an_aware_datetime() -> None:
    assert clock.parse(NEW_YEAR) == datetime(2026, 1, 1, tzinfo=UTC)


def test_shift_moves_either_way() -> None:
    assert clock.shift(NEW_YEAR, 90.5) == "2026-01-01T00:01:30.500000Z"
    assert clock.shift(NEW_YEAR, -1) == "2025-12-31T23:59:59.000000Z"


@given(st.integers(-(10**12), 10**12))
def test_shift_and_difference_agree(microseconds: int) -> None:
    seconds = microseconds / 1_000_000
    moved = clock.shift(NEW_YEAR, seconds)

    assert abs(clock.seconds_between(NEW_YEAR, moved) - seconds) < 2e-6


@given(st.datetimes(min_value=datetime(1900, 1, 1)), st.datetimes(min_value=datetime(1900, 1, 1)))
def test_timestamps_sort_as_text(one: datetime, other: datetime) -> None:
    earlier, later = sorted((one, other))
    first, second = (
        clock.shift(NEW_YEAR, (moment - datetime(2026, 1, 1)).total_seconds())
        for moment in (earlier, later)
    )

    assert first <= second
