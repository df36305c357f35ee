"""Where the commands look: the store of the sqlrs CLI, and downloads that all stores share."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sqlrs_engine import cli
from sqlrs_engine.commands import USAGE
from sqlrs_engine.commands.terminal import places
from sqlrs_engine.daemon import engine_file
from sqlrs_engine.daemon.engine_file import EngineRecord
from sqlrs_engine.engine.offline import distributions

RECORD = EngineRecord(
    endpoint="127.0.0.1:1",
    pid=1,
    started_at="2026-12-01T00:00:00Z",
    auth_token="ab" * 32,
    version="dev",
    instance_id="cd" * 16,
)


def store(state_dir: Path, **environ: str) -> Path:
    return places(state_dir, environ).store


def test_the_store_is_that_of_sqlrs_init_local(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    where = places(None, environ)
    assert where.state_dir == tmp_path / "sqlrs"
    assert where.store == tmp_path / "sqlrs" / "store"


def test_an_earlier_store_is_still_found(tmp_path: Path) -> None:
    (tmp_path / "state-store").mkdir()
    assert store(tmp_path) == tmp_path / "state-store"


def test_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / "state-store").mkdir()
    assert store(tmp_path, SQLRS_STATE_STORE="/srv/x") == Path("/srv/x")


def test_the_store_of_the_last_engine_is_the_one_that_is_meant(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "state-store").mkdir()
    path = tmp_path / "engine.json"
    engine_file.write(path, replace(RECORD, state_store=str(elsewhere)))
    assert store(tmp_path) == elsewhere
    assert engine_file.remove_if_ours(path, RECORD.instance_id)
    assert store(tmp_path) == elsewhere
    elsewhere.rmdir()
    assert store(tmp_path) == tmp_path / "state-store"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"stateStore": 1}', '{"stateStore": "tmp"}'])
def test_a_pointer_that_makes_no_sense_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "store.json").write_text(text)
    assert store(tmp_path) == tmp_path / "store"


def test_the_engine_file_names_the_store_for_clients(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    engine_file.write(path, replace(RECORD, state_store="/srv/x"))
    assert json.loads(path.read_text())["stateStore"] == "/srv/x"
    assert engine_file.read(path) == replace(RECORD, state_store="/srv/x")


def test_downloads_are_the_users_whatever_the_store(tmp_path: Path) -> None:
    data = {"XDG_DATA_HOME": str(tmp_path / "data")}
    for state_dir in (tmp_path / "a", tmp_path / "b"):
        assert places(state_dir, data).builds == tmp_path / "data" / "sqlrs" / "postgres"


@pytest.mark.parametrize(
    ("uid", "environ", "images"),
    [
        (1000, {}, "/data/sqlrs/images"),
        (0, {}, "/var/lib/sqlrs-engine/images"),
        (1000, {"SQLRS_IMAGE_STORE": "/srv/images"}, "/srv/images"),
        (0, {"SQLRS_IMAGE_STORE": "/srv/images"}, "/srv/images"),
    ],
)
def test_images_are_where_the_servers_can_reach_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uid: int, environ: dict, images: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: uid)
    assert places(tmp_path, {"XDG_DATA_HOME": "/data", **environ}).images == Path(images)


def test_downloads_of_the_user_and_of_the_store_are_listed(
    tmp_path: Path, fake_programs, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_programs(tmp_path / "data" / "sqlrs" / "postgres" / "16.9" / "bin", "16.9")
    fake_programs(tmp_path / "state" / "store" / "postgres" / "14.2" / "bin", "14.2")
    environ = {"XDG_DATA_HOME": str(tmp_path / "data"), "PATH": ""}
    command = ["postgres", "list", "--state-dir", str(tmp_path / "state")]
    assert cli.main([*command, "--json"], environ) == 0
    found = {each["version"]: each["origin"] for each in json.loads(capsys.readouterr().out)}
    assert found["16.9"] == found["14.2"] == "installed"


def test_the_images_that_are_listed_are_accepted(
    tmp_path: Path, fake_programs, capsys: pytest.CaptureFixture[str]
) -> None:
    for build in ("data/sqlrs/postgres/16.9", "state/store/postgres/16.9"):
        fake_programs(tmp_path / build / "bin", "16.9")
    environ = {
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "SQLRS_IMAGE_STORE": str(tmp_path / "images"),  # root's are those of the machine
        "PATH": "",
    }
    where = places(tmp_path / "state", environ)
    assert cli.main(["postgres", "list", "--state-dir", str(where.state_dir)], environ) == 0
    _, *rows = capsys.readouterr().out.splitlines()
    known = distributions(where.store, "", where.builds)
    found = [row.split()[0] for row in rows]
    assert all(known.resolve(image) for image in found)
    assert found.count("postgres:16.9") == 1
    assert len(set(found)) == len(found)


def test_without_home_the_system_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pwd.getpwuid", lambda uid: type("Entry", (), {"pw_dir": "/home/me"}))
    for environ in ({}, {"HOME": ""}, {"HOME": "relative"}):
        assert places(None, environ).state_dir == Path("/home/me/.local/state/sqlrs")


@pytest.mark.parametrize("command", [["status"], ["doctor"], ["ls"], ["stop"]])
def test_without_any_home_a_command_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    command: list[str],
) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert cli.main(command, {}) == USAGE
    assert "set HOME or XDG_STATE_HOME, or give --state-dir" in capsys.readouterr().err
    assert places(tmp_path, {}).builds == tmp_path / "postgres"
