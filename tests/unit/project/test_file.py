"""The project file is found, and parsed or refused with the line."""

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlrs_engine.errors import InvalidArgument, NotFound, ProjectFileInvalid
from sqlrs_engine.project.file import find, parse

UID = os.getuid()


def found(start: Path, home: Path | None = None, uid: int = UID) -> Path:
    return find(start, uid=uid, home=home)


def test_the_nearest_file_above_is_found(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "sqlrs.toml").touch()
    assert found(below) == tmp_path / "sqlrs.toml"
    (tmp_path / "a" / "sqlrs.toml").touch()
    assert found(below) == tmp_path / "a" / "sqlrs.toml"
    (below / "sqlrs.toml").mkdir()
    assert found(below) == tmp_path / "a" / "sqlrs.toml", "a directory is no file"


@pytest.mark.parametrize("as_file", [False, True], ids=["repository", "worktree"])
def test_the_search_ends_at_the_repository(tmp_path: Path, as_file: bool) -> None:
    below = tmp_path / "repo" / "src"
    below.mkdir(parents=True)
    git = tmp_path / "repo" / ".git"
    git.touch() if as_file else git.mkdir()
    (tmp_path / "sqlrs.toml").touch()
    with pytest.raises(NotFound, match=rf"up to {tmp_path}/repo;") as failure:
        found(below)
    assert failure.value.message.endswith("name it with --file")
    (tmp_path / "repo" / "sqlrs.toml").touch()
    assert found(below) == tmp_path / "repo" / "sqlrs.toml"


def test_the_search_ends_at_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    below = home / "src"
    below.mkdir(parents=True)
    (tmp_path / "sqlrs.toml").touch()
    with pytest.raises(NotFound):
        found(below, home)
    (home / "sqlrs.toml").touch()
    assert found(below, home) == home / "sqlrs.toml"


@pytest.mark.root
@pytest.mark.skipif(UID != 0, reason="needs root to make files of others")
def test_a_file_of_another_user_is_used_only_where_it_is_meant(tmp_path: Path) -> None:
    below = tmp_path / "mine"
    below.mkdir()
    above = tmp_path / "sqlrs.toml"
    above.touch()
    os.chown(above, 12345, 12345)
    with pytest.raises(InvalidArgument, match=f"{above} belongs to user 12345"):
        found(below)
    assert found(tmp_path) == above, "it is in the current directory"
    assert found(below, uid=12345) == above
    os.chown(below, 12345, 12345)
    assert found(below) == above, "root works in another user's checkout"


def test_the_file_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "sqlrs.toml"
    path.write_bytes(b'\xef\xbb\xbf[database."caf\xc3\xa9"]\r\nimage = "x"\r\n')
    assert parse(path) == {"database": {"café": {"image": "x"}}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[database.a]\nimage = \n", r"not TOML: .*line 2"),
        (b"[database.a]\n[database.a]\n", r"not TOML: .*line 2"),
        (b'a = 1\nb = "caf\xe9"', "line 2 is not UTF-8"),
        (b"a = " + b"[" * 100_000, "nested too deep"),
        (b"a = " + b"1" * 10_000, "not TOML"),
    ],
)
def test_what_is_no_toml_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "sqlrs.toml"
    path.write_bytes(content)
    with pytest.raises(ProjectFileInvalid, match=rf"sqlrs.toml is not valid: .*{reason}"):
        parse(path)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_toml_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    try:
        expected = tomllib.loads(content.decode("utf-8-sig"))
    except ValueError:
        with pytest.raises(ProjectFileInvalid):
            parse(path)
    else:
        assert parse(path) == expected


def test_a_file_that_is_missing_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="correct --file"):
        parse(tmp_path / "nowhere" / "sqlrs.toml")
    with pytest.raises(InvalidArgument, match="names a directory"):
        parse(tmp_path)
