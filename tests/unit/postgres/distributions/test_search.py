"""Where sets of programs are looked for."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sqlrs_engine.postgres.distributions.search import (
    PgConfigs,
    Place,
    installed_places,
    runnable,
    system_places,
    wheel_places,
)

FakePrograms = Callable[..., Path]


def pg_config(directory: Path, script: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "pg_config"
    program.write_text(f"#!/bin/sh\necho asked >>{directory}/calls\n{script}\n")
    program.chmod(0o755)
    return directory


def calls(directory: Path) -> int:
    return len((directory / "calls").read_text().splitlines())


def places(*directories: Path, root: Path, pg_configs: PgConfigs | None = None) -> list[Place]:
    return list(system_places(directories, pg_configs or PgConfigs(), root))


def test_installations_of_the_engine_are_found(tmp_path: Path, fake_programs: FakePrograms) -> None:
    for name in ("15.19", "17.11", ".install-x", "fingerprints.json"):
        fake_programs(tmp_path / name / "bin", "1")
    assert list(installed_places(tmp_path)) == [
        Place(tmp_path / "15.19" / "bin", "installed"),
        Place(tmp_path / "17.11" / "bin", "installed"),
    ]
    assert list(installed_places(tmp_path / "missing")) == []


def test_a_python_package_is_found_but_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "pretended_postgres"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError")
    monkeypatch.syspath_prepend(tmp_path)
    bin_dir = package / "pginstall" / "bin"
    assert list(wheel_places(package.name)) == [Place(bin_dir, "wheel")]
    libraries = tmp_path / "pretended_postgres.libs"
    libraries.mkdir()
    assert list(wheel_places(package.name)) == [Place(bin_dir, "wheel", (libraries,))]
    assert package.name not in sys.modules


def test_a_missing_python_package_has_no_places() -> None:
    assert list(wheel_places("no_such_package_at_all")) == []


def test_a_module_in_place_of_the_package_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pretended_module.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert list(wheel_places("pretended_module")) == []


def test_the_usual_places_of_a_machine(tmp_path: Path) -> None:
    usual = ["usr/lib/postgresql/14/bin", "usr/lib/postgresql/15/bin", "usr/pgsql-17/bin"]
    for each in [*usual, "usr/lib/postgresql/15/lib"]:
        (tmp_path / each).mkdir(parents=True)
    assert places(root=tmp_path) == [Place(tmp_path / each, "system") for each in usual]


def test_a_path_directory_with_the_programs_is_a_place(
    tmp_path: Path, fake_programs: FakePrograms
) -> None:
    bin_dir = fake_programs(tmp_path / "bin", "17.2")
    pg_config(bin_dir, "echo /elsewhere")
    assert places(tmp_path / "empty", bin_dir, root=tmp_path) == [Place(bin_dir, "system")]


def test_a_pg_config_says_where_the_programs_are(tmp_path: Path) -> None:
    directory = pg_config(tmp_path / "bin", "test $1 = --bindir && echo /opt/pg/bin")
    assert places(directory, root=tmp_path) == [Place(Path("/opt/pg/bin"), "system")]


def test_a_pg_config_is_asked_once_until_it_changes(tmp_path: Path) -> None:
    """It is asked for at every preparation, and takes milliseconds."""
    directory = pg_config(tmp_path / "bin", "echo /opt/pg/bin")
    (tmp_path / "same").symlink_to(directory)  # as /bin often is of /usr/bin
    known = PgConfigs()
    for _ in range(2):
        found = places(directory, tmp_path / "same", root=tmp_path, pg_configs=known)
        assert found == [Place(Path("/opt/pg/bin"), "system")] * 2
    assert calls(directory) == 1
    pg_config(directory, "echo /opt/another/pg/bin")
    found = places(directory, root=tmp_path, pg_configs=known)
    assert found == [Place(Path("/opt/another/pg/bin"), "system")]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 1", "does not answer"),
        ("true", "names no directory: ''"),
        ("echo bin", "names no directory"),
        ("printf '\\377'", "names no directory"),
    ],
)
def test_a_broken_pg_config_is_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, script: str, words: str
) -> None:
    directory = pg_config(tmp_path / "bin", script)
    known = PgConfigs()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert places(directory, root=tmp_path, pg_configs=known) == []
    assert len(caplog.records) == 1
    assert words in caplog.text


def test_relative_path_directories_are_ignored(
    tmp_path: Path, fake_programs: FakePrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fake_programs(tmp_path / "bin", "17.2"))
    assert places(Path(), Path("../bin"), root=tmp_path) == []


def test_only_an_executable_file_is_runnable(tmp_path: Path) -> None:
    program = tmp_path / "program"
    assert not runnable(program)
    program.touch(0o644)
    assert not runnable(program)
    program.chmod(0o755)
    assert runnable(program)
    assert not runnable(tmp_path)
    assert not runnable(program / "below")


def test_directories_that_cannot_be_entered_are_passed_over(
    tmp_path: Path, fake_programs: FakePrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an ordinary user with root's PATH."""
    closed = fake_programs(tmp_path / "closed", "17.2")
    open_ = fake_programs(tmp_path / "open", "17.2")

    def stat(path: Path, **kwargs: object) -> object:
        if closed in path.parents:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, **kwargs)

    original = Path.stat
    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr("os.access", lambda path, mode: closed not in path.parents)
    assert places(closed, open_, root=tmp_path) == [Place(open_, "system")]
