"""The output of a pipe, as lines and as text."""

import pytest

from sqlrs_engine.processes.output import LONGEST_LINE, Lines, Text


def lines_of(*chunks: bytes, longest: int = LONGEST_LINE) -> list[str]:
    found: list[str] = []
    lines = Lines(found.append, longest=longest)
    for chunk in chunks:
        lines.add(chunk)
    lines.end()
    return found


def text_of(*chunks: bytes) -> list[str]:
    found: list[str] = []
    text = Text(found.append)
    for chunk in chunks:
        text.add(chunk)
    text.end()
    return found


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"o", b"ne\ntw", b"o\n"], ["one", "two"]),
        ([b"one\ntwo"], ["one", "two"]),
        ([b"one\r\n\ntwo\r\n"], ["one", "", "two"]),
        ([b"caf\xe9 \xc3", b"\xa9\n"], ["caf\ufffd é"]),
        ([], []),
    ],
    ids=["whole", "in pieces", "without an end", "of Windows", "not UTF-8", "nothing"],
)
def test_chunks_become_lines(chunks: list[bytes], expected: list[str]) -> None:
    assert lines_of(*chunks) == expected


def test_a_line_is_passed_on_when_it_is_complete() -> None:
    found: list[str] = []
    lines = Lines(found.append)
    lines.add(b"one\ntwo")
    assert found == ["one"]
    lines.add(b"\n")
    assert found == ["one", "two"]


def test_a_line_longer_than_the_limit_comes_in_pieces() -> None:
    found = lines_of(*[b"x" * 1000] * 50, b"\nend\n", longest=10_000)
    assert found[-1] == "end"
    assert "".join(found[:-1]) == "x" * 50_000
    assert max(map(len, found)) <= 11_000


@pytest.mark.parametrize("offset", range(4))
def test_pieces_end_between_characters(offset: int) -> None:
    text = "x" * (100 - offset) + "€é🐘" * 3
    found = lines_of(text.encode(), longest=100)
    assert "".join(found) == text
    assert len(found) == 2


def test_pieces_of_what_is_not_utf8_end_anywhere() -> None:
    assert set("".join(lines_of(b"\x80" * 101, longest=100))) == {"\ufffd"}


def test_a_character_of_text_may_come_in_two_chunks() -> None:
    assert text_of(b"a\xe2", b"\x82", b"\xacb\n") == ["a", "€b\n"]


def test_text_that_is_not_utf8_is_replaced() -> None:
    assert "".join(text_of(b"a\xffb\n", b"\xe2\x82")) == "a\ufffdb\n\ufffd"
