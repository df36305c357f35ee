"""A name for a user that has none."""

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from sqlrs_engine.errors import OsUserUnknown
from sqlrs_engine.postgres.user_name import user_name

NOWHERE = "/nowhere"


def tool(directory: Path, text: str) -> str:
    path = directory / "unshare"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(directory)


def test_without_nss_wrapper_and_user_namespaces_the_error_says_what_to_do() -> None:
    with (
        pytest.raises(OsUserUnknown, match=f"{os.geteuid()} has no name.*libnss-wrapper"),
        user_name((), NOWHERE),
    ):
        pass


def test_nss_wrapper_is_used_where_it_is(tmp_path: Path) -> None:
    library = tmp_path / "libnss_wrapper.so"
    library.touch()
    with user_name([str(tmp_path / "*.so")], NOWHERE) as given:
        assert given.prefix == ()
        assert given.environment["LD_PRELOAD"] == str(library)
        passwd = Path(given.environment["NSS_WRAPPER_PASSWD"])
        name, _, uid, gid, *_ = passwd.read_text().strip().split(":")
        assert (name, int(uid), int(gid)) == ("sqlrs", os.geteuid(), os.getegid())
        assert Path(given.environment["NSS_WRAPPER_GROUP"]).exists()
    assert not passwd.exists()


def test_a_user_namespace_is_used_where_it_is_allowed(tmp_path: Path) -> None:
    with user_name((), tool(tmp_path, 'echo "$@"')) as given:
        said = subprocess.check_output([*given.prefix, "id"], text=True).split()
    uid = int(said[1].removeprefix("--map-user="))
    assert uid != 0
    assert pwd.getpwuid(uid).pw_name
    assert said[-2:] == ["--", "id"]


def test_a_user_namespace_that_is_not_allowed_is_not_used(tmp_path: Path) -> None:
    tools = tool(tmp_path, "echo Operation not permitted; exit 1")
    with pytest.raises(OsUserUnknown), user_name((), tools):
        pass


def test_a_user_namespace_suits_more_programs_than_nss_wrapper(tmp_path: Path) -> None:
    library = tmp_path / "libnss_wrapper.so"
    library.touch()
    with user_name([str(library)], tool(tmp_path, "exit 0")) as given:
        assert given.prefix != ()
        assert given.environment == {}
