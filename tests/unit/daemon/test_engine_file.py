"""engine.json: private, atomic, removed only by its owner."""

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from sqlrs_engine.daemon import engine_file
from sqlrs_engine.daemon.engine_file import EngineRecord
from sqlrs_engine.errors import Conflict

RECORD = EngineRecord(
    endpoint="127.0.0.1:41575",
    pid=4711,
    started_at="2026-03-01T09:30:00.000000Z",
    auth_token="a" * 64,
    version="dev",
    instance_id="b" * 32,
)


def test_the_file_has_the_fields_clients_read(tmp_path: Path) -> None:
    engine_file.write(tmp_path / "engine.json", RECORD)
    assert json.loads((tmp_path / "engine.json").read_text()) == {
        "endpoint": "127.0.0.1:41575",
        "pid": 4711,
        "startedAt": "2026-03-01T09:30:00.000000Z",
        "authToken": "a" * 64,
        "version": "dev",
        "instanceId": "b" * 32,
    }


def test_a_written_record_is_read_back(tmp_path: Path) -> None:
    engine_file.write(tmp_path / "engine.json", RECORD)
    assert engine_file.read(tmp_path / "engine.json") == RECORD


def test_the_file_and_a_new_directory_are_private(tmp_path: Path) -> None:
    path = tmp_path / "state" / "engine.json"
    before = os.umask(0)
    try:
        engine_file.write(path, RECORD)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_that_is_there_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    path.write_text("stale")
    path.chmod(0o644)
    engine_file.write(path, RECORD)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["engine.json"]


def test_a_symlink_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "engine.json"
    path.symlink_to(victim)
    engine_file.write(path, RECORD)
    assert victim.read_text() == "precious"
    assert not path.is_symlink()


def test_a_directory_others_may_write_is_closed_to_them(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    directory.chmod(0o777)
    engine_file.write(directory / "engine.json", RECORD)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755


def test_a_shared_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(Conflict, match="use a directory inside it"):
        engine_file.write(shared / "engine.json", RECORD)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777
    assert list(shared.iterdir()) == []


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "theirs"
    directory.mkdir()
    os.chown(directory, 65534, 65534)
    with pytest.raises(Conflict, match="belongs to another user"):
        engine_file.write(directory / "engine.json", RECORD)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "x"}', "null"])
def test_an_unusable_file_reads_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "engine.json"
    path.write_text(text)
    assert engine_file.read(path) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"pid": 0},
        {"pid": -1},
        {"pid": 10**30},
        {"endpoint": ""},
        {"endpoint": "nowhere:::"},
        {"endpoint": "/etc/passwd:1"},
        {"stateStore": 5},
    ],
    ids=str,
)
def test_an_unusable_engine_file_is_no_record(tmp_path: Path, fields: dict[str, object]) -> None:
    path = tmp_path / "engine.json"
    path.write_text(json.dumps(RECORD.to_json() | fields))
    assert engine_file.read(path) is None


def test_a_missing_file_reads_as_none(tmp_path: Path) -> None:
    assert engine_file.read(tmp_path / "engine.json") is None


def test_only_our_own_file_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    engine_file.write(path, replace(RECORD, instance_id="c" * 32))
    assert not engine_file.remove_if_ours(path, RECORD.instance_id)
    assert path.exists()
    engine_file.write(path, RECORD)
    assert engine_file.remove_if_ours(path, RECORD.instance_id)
    assert not path.exists()
    assert not engine_file.remove_if_ours(path, RECORD.instance_id)
