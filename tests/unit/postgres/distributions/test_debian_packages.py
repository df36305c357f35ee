"""Libraries out of Debian packages, with tools that pretend."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sqlrs_engine.postgres.distributions.debian_packages import fetch_library

LIBRARY = "libossp-uuid.so.16"
MakeTools = Callable[..., str]


@pytest.fixture
def make_tools(tmp_path: Path) -> MakeTools:
    """Make apt-get and dpkg-deb; return the path to find them."""

    def make(download: str = 'touch "${last}_1.6_amd64.deb"') -> str:
        package = tmp_path / "package.tar"
        with tarfile.open(package, "w") as archive:
            for name, content in {LIBRARY: "", f"{LIBRARY}.0.22": "library"}.items():
                info = tarfile.TarInfo(f"./usr/lib/x86_64-linux-gnu/{name}")
                info.size = len(content)
                if name == LIBRARY:
                    info.type, info.linkname = tarfile.SYMTYPE, f"{LIBRARY}.0.22"
                archive.addfile(info, io.BytesIO(content.encode()))
        tools = tmp_path / "tools"
        tools.mkdir()
        log = tmp_path / "log"
        apt = (
            f'echo "$@" >>"{log}"\nfor last; do :; done\n'
            f'case "$*" in\n*update*) ;;\n*) {download};;\nesac'
        )
        for name, script in (("apt-get", apt), ("dpkg-deb", f'cat "{package}"')):
            (tools / name).write_text(f"#!/bin/sh\n{script}\n")
            (tools / name).chmod(0o755)
        return str(tools)

    return make


def commands(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().splitlines()


def test_a_library_is_taken_out_of_its_package(tmp_path: Path, make_tools: MakeTools) -> None:
    told: list[str] = []
    assert fetch_library(LIBRARY, tmp_path, told.append, path=make_tools())
    assert (tmp_path / LIBRARY).read_text() == "library"
    assert told == [f"{LIBRARY} comes from the Debian package libossp-uuid16_1.6_amd64.deb"]
    (command,) = commands(tmp_path)
    assert "--yes" in command
    assert "APT::Get::AllowUnauthenticated=false" in command
    assert command.endswith("download libossp-uuid16")


def test_the_newer_name_of_a_package_is_tried(tmp_path: Path, make_tools: MakeTools) -> None:
    download = 'case "$last" in *t64) touch "${last}_1_amd64.deb";; *) exit 100;; esac'
    assert fetch_library(LIBRARY, tmp_path, print, path=make_tools(download))
    assert [each.split()[-1] for each in commands(tmp_path)] == [
        "libossp-uuid16",
        "libossp-uuid16t64",
    ]


def test_without_package_lists_own_ones_are_used(tmp_path: Path, make_tools: MakeTools) -> None:
    download = 'case "$*" in *Dir::State::lists=*) touch "${last}_1_amd64.deb";; *) exit 100;; esac'
    assert fetch_library(LIBRARY, tmp_path, print, path=make_tools(download))
    assert [each.split()[-1] for each in commands(tmp_path)] == [
        "libossp-uuid16",
        "libossp-uuid16t64",
        "update",
        "libossp-uuid16",
    ]


@pytest.mark.parametrize(
    "download", ["exit 100", "true", 'echo junk >"${last}_1_amd64.deb"; exit 1']
)
def test_a_package_that_cannot_be_had_leaves_nothing(
    tmp_path: Path, make_tools: MakeTools, download: str
) -> None:
    assert not fetch_library(LIBRARY, tmp_path, print, path=make_tools(download))
    assert not (tmp_path / LIBRARY).exists()


def test_a_package_without_the_library_is_of_no_use(tmp_path: Path, make_tools: MakeTools) -> None:
    assert not fetch_library("libssl.so.3", tmp_path, print, path=make_tools())


def test_a_damaged_package_is_of_no_use(tmp_path: Path, make_tools: MakeTools) -> None:
    path = make_tools()
    (tmp_path / "package.tar").write_text("damaged")
    assert not fetch_library(LIBRARY, tmp_path, print, path=path)


def test_python_is_not_taken_from_a_package(tmp_path: Path, make_tools: MakeTools) -> None:
    path = make_tools()
    assert not fetch_library("libpython3.11.so.1.0", tmp_path, print, path=path)
    assert not (tmp_path / "log").exists()


def test_a_machine_without_apt_has_no_packages(tmp_path: Path) -> None:
    assert not fetch_library(LIBRARY, tmp_path, print, path=str(tmp_path))
