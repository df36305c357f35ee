"""pgdump.programs: which pg_dump is chosen."""

from pathlib import Path

import pytest

from sqlrs_engine.errors import ImageUnavailable
from sqlrs_engine.pgdump import programs
from sqlrs_engine.postgres.distributions.distribution import Distribution, Origin

NO_TLS = 'pg_dump: error: sslmode value "require" invalid when SSL support is not compiled in'


def make(directory: Path, major: int, *, tls: bool = True) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "pg_dump"
    says = "no such server" if tls else NO_TLS
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "pg_dump (PostgreSQL) {major}.2" && exit\n'
        f"echo '{says}' >&2; exit 1\n"
    )
    program.chmod(0o755)
    return program


def distribution(
    root: Path, major: int, *, tls: bool = True, origin: Origin = "system"
) -> Distribution:
    bin_dir = root / f"{origin}{major}{tls}"
    make(bin_dir, major, tls=tls)
    return Distribution(
        image_id=f"postgres@{major}",
        version=f"{major}.2",
        major=major,
        bin_dir=bin_dir,
        origin=origin,
    )


def chosen(found: list[Distribution], major: int, path: str = "", *, tls: bool = False) -> Path:
    return programs.choose(found, path, major, tls=tls)


def test_the_same_version_or_the_next_newer_one(tmp_path: Path) -> None:
    found = [distribution(tmp_path, major) for major in (18, 17, 15)]
    assert chosen(found, 17).parent == found[1].bin_dir
    assert chosen(found, 16).parent == found[1].bin_dir
    assert chosen(found, 12).parent == found[2].bin_dir


@pytest.mark.parametrize(("major", "install"), [(16, 16), (18, 18), (9, 14)])
def test_older_ones_only(tmp_path: Path, major: int, install: int) -> None:
    found = [distribution(tmp_path, 15)] if major > 15 else []
    with pytest.raises(ImageUnavailable, match=rf"postgres install {install}\b.*newer") as failure:
        chosen(found, major)
    assert f"no pg_dump for PostgreSQL {major}" in failure.value.message


def test_a_server_that_is_newer_than_all_versions_that_can_be_installed(tmp_path: Path) -> None:
    with pytest.raises(ImageUnavailable, match="postgresql-client-19"):
        chosen([distribution(tmp_path, 18)], 19)


def test_one_that_can_encrypt_if_that_matters(tmp_path: Path) -> None:
    found = [distribution(tmp_path, 17, tls=False), distribution(tmp_path, 18)]
    assert chosen(found, 17).parent == found[0].bin_dir
    assert chosen(found, 17, tls=True).parent == found[1].bin_dir
    with pytest.raises(ImageUnavailable, match=r"postgres install 17: .*encrypted"):
        chosen(found[:1], 17, tls=True)


def test_a_client_on_the_path_is_better_than_none(tmp_path: Path) -> None:
    program = make(tmp_path / "bin", 17)
    found = [distribution(tmp_path, 15)]
    assert chosen(found, 16, str(program.parent)) == program
    assert chosen(found, 15, str(program.parent)).parent == found[0].bin_dir


@pytest.mark.parametrize("user", [0, 1000])
def test_root_runs_no_program_of_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int
) -> None:
    found = [distribution(tmp_path, 17, origin="image"), distribution(tmp_path, 18)]
    monkeypatch.setattr(programs.os, "geteuid", lambda: user)
    assert chosen(found, 17).parent == found[1 if user == 0 else 0].bin_dir
