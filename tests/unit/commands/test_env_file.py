"""Environment files keep what they have besides the variables that are set."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlrs_engine.commands import env_file
from sqlrs_engine.errors import InvalidArgument


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "A=1\nB=2\n"),
        ("X=0", "X=0\nA=1\nB=2\n"),
        ("# A=0\nA=0\nX=0\n", "# A=0\nA=1\nX=0\nB=2\n"),
        ("export A=0\n  B = 0\n", "export A=1\n  B=2\n"),
        ("A=0\r\nX=0\r\n", "A=1\r\nX=0\r\nB=2\n"),
        ("A=0\nX=0\nA=9\n", "A=1\nX=0\nB=2\n"),
        ("AA=0\n\nXA=0\n", "AA=0\n\nXA=0\nA=1\nB=2\n"),
        ("B='x y'", "B=2\nA=1\n"),
    ],
)
def test_variables_are_set_in_place_or_added(before: str, after: str) -> None:
    assert env_file.updated(before.encode(), {"A": "1", "B": "2"}).decode() == after
    assert env_file.updated(after.encode(), {"A": "1", "B": "2"}).decode() == after


@given(st.binary(max_size=100))
def test_other_lines_are_kept_byte_for_byte(content: bytes) -> None:
    kept = env_file.updated(content, {"A": "1"})
    others = [line for line in content.splitlines() if line.strip() and b"A" not in line]
    assert [line for line in kept.splitlines() if line.strip() and b"A" not in line] == others
    assert env_file.updated(kept, {"A": "1"}) == kept


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20))
def test_values_are_quoted_for_a_shell(value: str) -> None:
    [line] = env_file.assignments({"A": value}, "export ")
    assert shlex.split(line) == ["export", f"A={value}"]


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env.test"
    env_file.write(file, {"A": "1"})
    assert file.read_text() == "A=1\n"
    file.chmod(0o644)
    env_file.write(file, {"A": "2"})
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("A=2\n", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == [".env.test"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / ".env"
    link.symlink_to("real/env")
    env_file.write(link, {"A": "1"})
    assert link.is_symlink()
    assert (tmp_path / "real" / "env").read_text() == "A=1\n"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes the files of others")
def test_the_owner_stays_the_owner(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.touch()
    os.chown(file, 12345, 12345)
    env_file.write(file, {"A": "1"})
    assert file.stat().st_uid == 12345


def test_a_failed_write_leaves_the_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    file.write_text("A=0\n")

    def fail(self: Path, target: Path) -> Path:
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="full"):
        env_file.write(file, {"A": "1"})
    assert file.read_text() == "A=0\n"
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


def test_a_file_that_cannot_be_written_is_refused_beforehand(tmp_path: Path) -> None:
    env_file.check(tmp_path / ".env")
    for place in (tmp_path, tmp_path / "nowhere" / ".env"):
        with pytest.raises(InvalidArgument):
            env_file.check(place)


def test_git_knows_what_it_tracks(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)

    file = tmp_path / ".env"
    file.touch()
    assert not env_file.tracked_by_git(file), "there is no repository"
    git("init")
    assert not env_file.tracked_by_git(file)
    git("add", ".env")
    assert env_file.tracked_by_git(file)
