"""Credentials: the files and programs they come from, and the entry that counts."""

import base64
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from sqlrs_engine.postgres.images.credentials import Credentials, Login


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def find(home: Path, host: str, repository: str = "a/b", **environ: str) -> Login | None:
    return Credentials({"HOME": str(home), **environ}).find(host, repository)


def test_without_any_file_there_are_none(home: Path) -> None:
    assert find(home, "ghcr.io") is None


def test_docker_login(home: Path) -> None:
    write(home / ".docker/config.json", {"auths": {"ghcr.io": auth("me", "pa:ss")}})
    assert find(home, "ghcr.io") == Login(username="me", password="pa:ss")
    assert find(home, "quay.io") is None


@pytest.mark.parametrize(
    "key",
    [
        "https://index.docker.io/v1/",
        "index.docker.io",
        "docker.io",
        "docker.io/library/postgres",
        "docker.io/library",
        "registry-1.docker.io",
    ],
)
def test_the_names_of_docker_hub(home: Path, key: str) -> None:
    write(home / ".docker/config.json", {"auths": {key: auth("me", "pw")}})
    assert find(home, "docker.io", "library/postgres") == Login(username="me", password="pw")


@pytest.mark.parametrize("key", ["https://r.io", "http://r.io/", "https://r.io/v2/", "r.io/v1"])
def test_hosts_may_be_written_as_addresses(home: Path, key: str) -> None:
    write(home / ".docker/config.json", {"auths": {key: auth("me", "pw")}})
    assert find(home, "r.io") is not None


def test_the_most_particular_entry_counts(home: Path) -> None:
    auths = {"r.io": auth("all", "1"), "r.io/a": auth("org", "2"), "r.io/a/b/c": auth("deep", "3")}
    write(home / ".config/containers/auth.json", {"auths": auths})
    found = [find(home, "r.io", name) for name in ("a/b/c", "a/b", "a", "b")]
    assert [each.username if each else None for each in found] == ["deep", "org", "org", "all"]


def test_the_files_and_their_order(home: Path, tmp_path: Path) -> None:
    places = {
        "docker": home / ".docker/config.json",
        "runtime": tmp_path / "run/containers/auth.json",
        "config": home / ".config/containers/auth.json",
    }
    for name, place in places.items():
        write(place, {"auths": {"both": auth(name, "x"), name: auth(name, "x")}})
    runtime = {"XDG_RUNTIME_DIR": str(tmp_path / "run")}
    assert find(home, "both", **runtime) == Login(username="docker", password="x")
    assert all(find(home, name, **runtime) for name in places)
    other = write(tmp_path / "other/config.json", {"auths": {"other": auth("other", "x")}})
    assert find(home, "other", DOCKER_CONFIG=str(other.parent)) is not None
    assert find(home, "docker", DOCKER_CONFIG=str(other.parent)) is None
    assert find(home, "other", REGISTRY_AUTH_FILE=str(other)) is not None
    assert find(home, "both", REGISTRY_AUTH_FILE=str(other)) is None
    xdg = write(tmp_path / "xdg/containers/auth.json", {"auths": {"xdg": auth("xdg", "x")}})
    assert find(home, "xdg", XDG_CONFIG_HOME=str(xdg.parent.parent)) is not None


@pytest.mark.parametrize(
    ("entry", "login"),
    [
        ({"username": "me", "password": "pw"}, Login(username="me", password="pw")),
        ({"identitytoken": "t"}, Login(identity_token="t")),
        ({**auth("me", ""), "identitytoken": "t"}, Login(username="me", identity_token="t")),
        ({"registrytoken": "t"}, Login(registry_token="t")),
        ({}, None),
        ({"auth": "%%%"}, None),
        ({"auth": base64.b64encode(b"\xff\xfe").decode()}, None),
        ({"auth": base64.b64encode(b"no-colon").decode()}, None),
        ("text", None),
    ],
)
def test_entries(home: Path, entry: object, login: Login | None) -> None:
    write(home / ".docker/config.json", {"auths": {"r.io": entry}})
    assert find(home, "r.io") == login


ANSWER = """printf '{"Username": "%s", "Secret": "s"}' "$host" """


def helper(directory: Path, name: str, script: str) -> str:
    program = write(directory / f"docker-credential-{name}", f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"{directory}:/usr/bin:/bin"


def test_a_helper_is_asked_for_its_registry(home: Path, tmp_path: Path) -> None:
    script = f'test "$1" = get && read host; {ANSWER}'
    path = helper(tmp_path / "bin", "one", script)
    write(home / ".docker/config.json", {"credHelpers": {"r.io": "one"}})
    assert find(home, "r.io", PATH=path) == Login(username="r.io", password="s")
    assert find(home, "other.io", PATH=path) is None


def test_the_store_of_all_credentials_is_a_helper(home: Path, tmp_path: Path) -> None:
    script = f"read host; {ANSWER}"
    path = helper(tmp_path / "bin", "all", script)
    write(home / ".docker/config.json", {"credsStore": "all", "auths": {"r.io": {}}})
    assert find(home, "r.io", PATH=path) == Login(username="r.io", password="s")
    hub = find(home, "docker.io", PATH=path)
    assert hub is not None
    assert hub.username == "https://index.docker.io/v1/"


def test_a_helper_may_have_a_token(home: Path, tmp_path: Path) -> None:
    path = helper(tmp_path / "bin", "t", f"host='<token>'; {ANSWER}")
    write(home / ".docker/config.json", {"credsStore": "t"})
    assert find(home, "r.io", PATH=path) == Login(identity_token="s")


@pytest.mark.parametrize(
    ("script", "logged"),
    [
        ("echo credentials not found in native keychain; exit 1", False),
        ("echo secret-thing; exit 1", True),
        ("echo secret-thing", True),
        ("echo '[]'", False),
    ],
)
def test_a_helper_without_credentials_means_none(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, script: str, logged: bool
) -> None:
    path = helper(tmp_path / "bin", "x", script)
    write(home / ".docker/config.json", {"credsStore": "x"})
    with caplog.at_level(logging.WARNING):
        assert find(home, "r.io", PATH=path) is None
    assert ("docker-credential-x failed for r.io" in caplog.text) is logged
    assert "secret-thing" not in caplog.text


@pytest.mark.parametrize("name", ["missing", "../bin/x", "a b", "/bin/true"])
def test_a_helper_that_is_not_there_means_none(
    home: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    write(home / ".docker/config.json", {"credsStore": name})
    assert find(home, "r.io", PATH="/usr/bin:/bin") is None
    assert name in caplog.text


@pytest.mark.parametrize("content", ["", "[]", "x", '{"auths": []}', '{"auths": {"r.io": 1}}'])
def test_damaged_files_are_left_out(home: Path, content: str) -> None:
    write(home / ".docker/config.json", content)
    write(home / ".config/containers/auth.json", {"auths": {"r.io": auth("me", "pw")}})
    assert find(home, "r.io") == Login(username="me", password="pw")


def test_passwords_are_not_shown() -> None:
    login = Login(
        username="me", password="s3cret", identity_token="s3cret", registry_token="s3cret"
    )
    assert "s3cret" not in repr(login)
