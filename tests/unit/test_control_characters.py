"""What others wrote is shown on a terminal and never obeyed by it."""

import io
import json
import logging
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlrs_engine import cli
from sqlrs_engine.commands.progress import progress_on
from sqlrs_engine.commands.terminal import Terminal
from sqlrs_engine.control_characters import visible, visible_json
from sqlrs_engine.daemon import logs

TITLE = "\x1b]0;owned\x07"
CLIPBOARD = "\x9d52;c;aGk=\x9c"
NASTY = f"a{TITLE}b{CLIPBOARD}c\r\x08\x7f\x85\u202ed\u2028e"


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def obeyed(text: str) -> list[str]:
    """Return what a terminal would take for a command, our own styles aside."""
    return [c for c in text if unicodedata.category(c) == "Cc" and c not in "\n\t"]


def terminal(stream: io.StringIO) -> Terminal:
    return Terminal(environ={}, cwd=Path("/"), stdin=io.StringIO(), stdout=stream, stderr=stream)


@given(st.text())
def test_no_control_character_is_left(text: str) -> None:
    shown = visible(text)
    assert obeyed(shown) == []
    assert visible(shown) == shown


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], max_codepoint=0x2027)))
def test_other_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@given(st.text())
def test_json_stays_the_same_json(text: str) -> None:
    shown = visible_json(json.dumps({text: [text]}, ensure_ascii=False))
    assert obeyed(shown) == []
    assert json.loads(shown) == {text: [text]}


def test_sequences_are_shown() -> None:
    assert visible("\x1b[31mred\x9b0m\r\nnext\u202e") == "\\x1b[31mred\\x9b0m\nnext\\u202e"


def test_commands_print_nothing_that_a_terminal_obeys() -> None:
    stream = io.StringIO()
    screen = terminal(stream)
    screen.print(NASTY)
    screen.report(NASTY)
    screen.print_json({NASTY: NASTY})
    screen.print_table(("NAME",), [(NASTY,), ("two\nlines",)])
    assert obeyed(stream.getvalue()) == []
    assert "two\\nlines" in stream.getvalue()


@pytest.mark.parametrize("verbose", [False, True])
def test_progress_shows_output_and_does_not_obey_it(verbose: bool) -> None:
    log: dict[str, Any] = {"type": "log", "message": f"NOTICE: {NASTY} [/red] [bold]x"}
    task = {"type": "task", "task_id": f"[/x] {NASTY}", "status": "running"}
    screen = Screen()
    with progress_on(terminal(screen), verbose=verbose) as progress:
        for event in (task, log, {**task, "status": "succeeded"}):
            progress.show(event)
    for command in (TITLE, "\x07", "\x9d", "\x9c", "\x7f", "\x85"):
        assert command not in screen.getvalue()


def test_an_error_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([f"--{NASTY}"], {}) == 2
    told = capsys.readouterr().err
    assert "unknown flag" in told
    assert obeyed(told) == []


def test_the_log_holds_nothing_that_a_pager_obeys(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    with logs.logging_to(path, "debug"):
        logging.getLogger("sqlrs_engine.test").info("%s", NASTY)
    logging.getLogger("sqlrs_engine").setLevel(logging.NOTSET)
    assert obeyed(path.read_text()) == []


def test_commands_reach_the_streams_through_the_terminal_alone() -> None:
    commands = Path(cli.__file__).parent / "commands"
    writers = {
        path.name
        for path in commands.glob("*.py")
        if any(word in path.read_text() for word in ("stdout.write", "stderr.write", " print("))
    }
    assert writers == {"terminal.py"}
