"""The offer to get a missing extension and to go on."""

import io
from pathlib import Path
from typing import Any

import pytest

from sqlrs_engine.commands import extension_offer
from sqlrs_engine.commands.extension_offer import accepted
from sqlrs_engine.commands.terminal import Places, Terminal

WHERE = Places(Path("/state"), Path("/store"), Path("/builds"), Path("/images"))
POSTGIS = {"extension": "postgis", "pull": "postgis/postgis:18-3.6"}


class Tty(io.StringIO):
    """A stream of a terminal."""

    def isatty(self) -> bool:
        return True


def offer(
    facts: dict[str, Any],
    answer: str,
    *,
    image: str = "postgres:18",
    stdin: type[io.StringIO] = Tty,
    stderr: type[io.StringIO] = Tty,
) -> tuple[str | None, str]:
    """Return the image that was chosen, and what was printed."""
    output = stderr()
    terminal = Terminal(
        environ={}, cwd=Path("/"), stdin=stdin(answer), stdout=io.StringIO(), stderr=output
    )
    return accepted(facts, image, WHERE, terminal), output.getvalue()


@pytest.mark.parametrize("answer", ["\n", "y\n", "Yes\n"])
def test_an_accepted_image_is_used(answer: str) -> None:
    chosen, printed = offer(POSTGIS, answer)
    assert chosen == "postgis/postgis:18-3.6"
    assert printed == "postgis is in postgis/postgis:18-3.6: pull it and go on? [Y/n] "


@pytest.mark.parametrize("answer", ["n\n", "no\n", "what?\n", ""])
def test_a_declined_offer_leaves_all_as_it_is(answer: str) -> None:
    assert offer(POSTGIS, answer)[0] is None


def test_an_image_that_is_here_comes_first() -> None:
    chosen, printed = offer({**POSTGIS, "install": 18, "use": "postgis/postgis:18-3.5"}, "\n")
    assert chosen == "postgis/postgis:18-3.5"
    assert "which is here" in printed


@pytest.mark.parametrize(("answer", "installs"), [("\n", [18]), ("n\n", [])])
def test_a_version_is_installed_when_that_is_accepted(
    monkeypatch: pytest.MonkeyPatch, answer: str, installs: list[int]
) -> None:
    installed: list[int] = []
    monkeypatch.setattr(
        extension_offer, "install_major", lambda major, where, terminal: installed.append(major)
    )
    chosen, printed = offer({"extension": "pgcrypto", "install": 18}, answer)
    assert chosen == ("postgres:18" if installs else None)
    assert installed == installs
    assert printed == (
        "pgcrypto comes with `sqlrs-engine postgres install 18`: run that and go on? [Y/n] "
    )


@pytest.mark.parametrize(
    "circumstances", [{"stdin": io.StringIO}, {"stderr": io.StringIO}, {"image": "example/pg:18"}]
)
def test_nobody_is_asked_unless_there_is_somebody_and_the_image_was_no_choice(
    circumstances: dict[str, Any],
) -> None:
    assert offer(POSTGIS, "\n", **circumstances) == (None, "")


@pytest.mark.parametrize("facts", [{}, {"extension": "unheard_of"}, {"uses": 3}])
def test_without_a_known_source_there_is_no_question(facts: dict[str, Any]) -> None:
    assert offer(facts, "\n") == (None, "")
