import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlrs_engine import durations
from sqlrs_engine.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("-0", 0.0),
        ("0s", 0.0),
        ("2m0s", 120.0),
        ("1.5h", 5400.0),
        ("1h30m", 5400.0),
        ("500ms", 0.5),
        ("-1s", -1.0),
        ("+1s", 1.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("30s1m", 90.0),
        ("250us", 0.00025),
        ("250\u00b5s", 0.00025),
        ("250\u03bcs", 0.00025),
        ("1ns", 1e-9),
    ],
)
def test_a_duration_is_read_as_go_reads_it(text: str, seconds: float) -> None:
    assert durations.parse(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "-", "1", "1.5", "s", ".s", "1d", "1 s", " 1s", "1s ", "1s2", "--1s", "1e3s", "\u0661s"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid duration"):
        durations.parse(text)


@pytest.mark.parametrize("text", ["3000000h", "1" * 1000 + "h", "1s" * 10_000])
def test_a_duration_has_bounds(text: str) -> None:
    with pytest.raises(InvalidArgument):
        durations.parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (1e-12, "0s"),
        (-1e-12, "0s"),
        (600, "10m0s"),
        (1.5, "1.5s"),
        (-1.5, "-1.5s"),
        (90, "1m30s"),
        (3600, "1h0m0s"),
        (86400, "24h0m0s"),
        (0.5, "500ms"),
        (0.0015, "1.5ms"),
        (0.000001, "1\u00b5s"),
        (1e-9, "1ns"),
        (3661.25, "1h1m1.25s"),
    ],
)
def test_a_duration_is_written_as_go_writes_it(seconds: float, text: str) -> None:
    assert durations.format(seconds) == text


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_a_formatted_duration_parses_to_the_same(microseconds: int) -> None:
    seconds = microseconds / 1_000_000
    assert durations.parse(durations.format(seconds)) == seconds
