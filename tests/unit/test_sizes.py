"""sizes: bytes for people."""

import pytest

from sqlrs_engine import sizes


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (28 * 1024**2 + 400 * 1024, "28.4 MiB"),
        (3 * 1024**3, "3.0 GiB"),
        (5000 * 1024**4, "5000.0 TiB"),
    ],
)
def test_sizes(number: int, text: str) -> None:
    assert sizes.text(number) == text
