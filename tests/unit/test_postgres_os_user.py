"""Who runs the servers."""

import pwd

import pytest

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.postgres.os_user import OsUser

USERS = {"root": (0, 0), "toor": (0, 5), "nobody": (65534, 65533), "alice": (1000, 1001)}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    users = dict(USERS)

    def getpwnam(name: str) -> pwd.struct_passwd:
        uid, gid = users[name]
        return pwd.struct_passwd((name, "x", uid, gid, "", "/", "/bin/sh"))

    monkeypatch.setattr("pwd.getpwnam", getpwnam)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return users


@pytest.mark.parametrize("configured", [None, "alice", "nonsense"])
def test_an_ordinary_user_runs_them_itself(
    monkeypatch: pytest.MonkeyPatch, configured: str | None
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert OsUser.for_engine(configured) is None


def test_root_takes_the_configured_user() -> None:
    assert OsUser.for_engine("alice") == OsUser("alice", 1000, 1001)


def test_root_prefers_the_user_of_the_packages(machine: dict[str, tuple[int, int]]) -> None:
    assert OsUser.for_engine(None) == OsUser("nobody", 65534, 65533)
    machine["postgres"] = (101, 104)
    assert OsUser.for_engine(None) == OsUser("postgres", 101, 104)


def test_a_user_that_does_not_exist() -> None:
    with pytest.raises(InvalidArgument, match="does not exist: bob"):
        OsUser.for_engine("bob")


@pytest.mark.parametrize("name", ["root", "toor"])
def test_root_is_refused_by_any_name(name: str) -> None:
    with pytest.raises(InvalidArgument, match="must not be root"):
        OsUser.for_engine(name)


def test_a_machine_without_any_user(machine: dict[str, tuple[int, int]]) -> None:
    machine.clear()
    with pytest.raises(InvalidArgument, match=r"set postgres\.osUser.*none of postgres, nobody"):
        OsUser.for_engine(None)
