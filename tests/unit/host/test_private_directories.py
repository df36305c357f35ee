"""Directories that are the engine's alone."""

import os
import stat
from pathlib import Path

import pytest

from sqlrs_engine.client import engine_client
from sqlrs_engine.daemon import engine_file
from sqlrs_engine.daemon.engine_file import EngineRecord
from sqlrs_engine.engine.options import EngineOptions
from sqlrs_engine.engine.process import run_engine
from sqlrs_engine.errors import Conflict, EngineError, InvalidArgument
from sqlrs_engine.host.private_directories import private_directory

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_one_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        private_directory(tmp_path / "a" / "b", "it")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a" / "b") == 0o700


@pytest.mark.parametrize(
    ("was", "closed", "becomes"),
    [
        (0o777, False, 0o755),
        (0o777, True, 0o700),
        (0o755, True, 0o700),
        (0o770, False, 0o750),
        (0o750, False, 0o750),
        (0o700, True, 0o700),
    ],
)
def test_one_that_is_open_to_others_is_tightened(
    tmp_path: Path, was: int, closed: bool, becomes: int
) -> None:
    tmp_path.chmod(was)
    private_directory(tmp_path, "it", closed=closed)
    assert mode(tmp_path) == becomes


def test_a_shared_one_and_a_file_are_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(Conflict, match=r"it is shared: .*use a directory inside it"):
        private_directory(tmp_path, "it")
    assert mode(tmp_path) == 0o1777
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgument, match="it is not a directory"):
        private_directory(tmp_path / "file", "it")


def test_one_that_may_not_be_made_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/.local")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(Conflict, match="cannot create it: choose another place with --state-dir"):
        private_directory(tmp_path / "new", "it")


@pytest.mark.parametrize(
    "place",
    [
        *("logs", "store", "store/instances", "store/engines", "store/work", "store/trash"),
        *("store/labels", "store/labels/names", "run"),
    ],
)
def test_a_file_in_place_of_a_directory_is_said_at_the_start(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    (tmp_path / place).touch()
    options = EngineOptions(
        listen="127.0.0.1:0",
        engine_file=tmp_path / "engine.json",
        store_root=tmp_path / "store",
        run_dir=tmp_path / "run",
    )
    with pytest.raises(EngineError, match=rf"director.*{tmp_path / place.partition('/names')[0]}"):
        run_engine(options)
    assert (tmp_path / place).is_file()


@pytest.mark.root
@as_root
@pytest.mark.parametrize("place", ["store", "state", "run"])
def test_an_engine_does_not_start_in_another_users_directory(tmp_path: Path, place: str) -> None:
    for name in ("store", "state", "run"):
        (tmp_path / name).mkdir(mode=0o700)
    os.chown(tmp_path / place, 65534, 65534)
    options = EngineOptions(
        listen="127.0.0.1:0",
        engine_file=tmp_path / "state" / "engine.json",
        store_root=tmp_path / "store",
        run_dir=tmp_path / "run",
    )
    with pytest.raises(Conflict, match=r"belongs to another user: .* is owned by uid 65534"):
        run_engine(options)
    assert [path.name for path in tmp_path.rglob("*") if not path.is_dir()] == []


@pytest.mark.root
@as_root
def test_an_engine_file_of_another_user_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    record = EngineRecord(
        endpoint="127.0.0.1:1",
        pid=os.getpid(),
        started_at="2026-01-01T00:00:00Z",
        auth_token="theirs",
        version="dev",
        instance_id="theirs",
    )
    engine_file.write(path, record)
    os.chown(path, 65534, 65534)
    with pytest.raises(Conflict, match="the engine file belongs to another user"):
        engine_client.find(path)
