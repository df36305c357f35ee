"""The user that runs the servers."""

import os
import pwd
from pathlib import Path

import pytest

from sqlrs_engine.errors import InvalidArgument, OsUserUnknown
from sqlrs_engine.postgres import os_user
from sqlrs_engine.postgres.os_user import OsUser

USERS = {"root": (0, 0), "toor": (0, 5), "nobody": (65534, 65533), "alice": (1000, 1001)}


@pytest.fixture(autouse=True)
def ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The map of the ids that this user namespace has: all, unless it is written to."""
    file = tmp_path / "id_map"
    file.write_text("         0          0 4294967295\n")
    monkeypatch.setattr(os_user, "ID_MAPS", (file, file))
    return file


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    users = dict(USERS)

    def getpwnam(name: str) -> pwd.struct_passwd:
        uid, gid = users[name]
        return pwd.struct_passwd((name, "x", uid, gid, "", "/", "/bin/sh"))

    def getpwall() -> list[pwd.struct_passwd]:
        return [getpwnam(name) for name in users]

    def getpwuid(uid: int) -> pwd.struct_passwd:
        return {entry.pw_uid: entry for entry in getpwall()}[uid]

    def getgrgid(gid: int) -> object:
        return {entry.pw_gid: entry for entry in getpwall()}[gid]

    monkeypatch.setattr("pwd.getpwnam", getpwnam)
    monkeypatch.setattr("pwd.getpwall", getpwall)
    monkeypatch.setattr("pwd.getpwuid", getpwuid)
    monkeypatch.setattr("grp.getgrgid", getgrgid)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return users


@pytest.mark.parametrize("configured", [None, "alice", "nonsense"])
def test_an_ordinary_user_runs_the_servers_itself(
    monkeypatch: pytest.MonkeyPatch, configured: str | None
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert OsUser.for_engine(configured) is None


def test_root_runs_servers_as_the_configured_user() -> None:
    assert OsUser.for_engine("alice") == OsUser("alice", 1000, 1001)


def test_root_prefers_the_user_sqlrs(machine: dict[str, tuple[int, int]]) -> None:
    machine["sqlrs"] = (997, 996)
    assert OsUser.for_engine(None) == OsUser("sqlrs", 997, 996)


def test_root_chooses_an_id_that_no_user_or_group_has(machine: dict[str, tuple[int, int]]) -> None:
    machine |= {"postgres": (101, 104), "someone": (60706, 5), "else": (6, 60708)}
    # The ids of a user and of a group that exist are left out.
    assert OsUser.for_engine(None) == OsUser("uid 60707", 60707, 60707)


def test_in_a_container_without_those_ids_root_chooses_a_user_with_a_name(ids: Path) -> None:
    ids.write_text("0 100000 60000\n")
    assert OsUser.for_engine(None) == OsUser("nobody", 65534, 65533)


def test_a_cluster_of_an_earlier_engine_keeps_running_as_its_owner(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    user = OsUser("sqlrs", 997, 996)
    owners = {"theirs": (101, 104), "ours": (997, 996), "roots": (0, 0)}

    def stat(path: Path) -> os.stat_result:
        if path.name not in owners:
            raise FileNotFoundError(path)
        return os.stat_result((0o700, 1, 1, 1, *owners[path.name], 0, 0, 0, 0))

    monkeypatch.setattr(Path, "stat", stat)
    assert user.of(tmp_path / "theirs") == OsUser("uid 101", 101, 104)
    for name in ("ours", "roots", "none"):
        assert user.of(tmp_path / name) == user


def test_initdb_is_run_by_a_user_with_a_name(machine: dict[str, tuple[int, int]]) -> None:
    assert OsUser("alice", 1000, 1001).with_name() == OsUser("alice", 1000, 1001)
    assert OsUser("uid 60706", 60706, 60706).with_name() == OsUser("nobody", 65534, 65533)
    del machine["nobody"]
    assert OsUser("uid 60706", 60706, 60706).with_name() == OsUser("alice", 1000, 1001)
    del machine["alice"]
    with pytest.raises(OsUserUnknown, match="useradd"):
        OsUser("uid 60706", 60706, 60706).with_name()


def test_a_configured_user_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(InvalidArgument, match=r"does not exist: .*bob"):
        OsUser.for_engine("bob")


@pytest.mark.parametrize("name", ["root", "toor"])
def test_root_is_refused_by_any_name(name: str) -> None:
    with pytest.raises(InvalidArgument, match="must not be root"):
        OsUser.for_engine(name)


def test_a_machine_without_any_ordinary_user_is_an_error(
    machine: dict[str, tuple[int, int]], ids: Path
) -> None:
    machine.clear()
    ids.write_text("0 0 1\n")
    with pytest.raises(InvalidArgument, match=r"set postgres\.osUser.*useradd"):
        OsUser.for_engine(None)
