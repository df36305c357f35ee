"""How PostgreSQL's programs are started: with what, as whom, where."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sqlrs_engine.errors import ClusterFailed, InvalidArgument
from sqlrs_engine.postgres import launcher as module
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.postgres.launcher import Launcher, socket_fits, switch_user
from sqlrs_engine.postgres.os_user import OsUser

FakePrograms = Callable[..., Path]
NOBODY = OsUser("nobody", 65534, 65533)
REPORT = 'for each in "$@"; do echo "argument $each"; done; env; echo "cwd $(pwd)"; id -u; id -G'


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everyone can enter, unlike pytest's own."""
    place = Path(tempfile.mkdtemp(prefix="sqlrs-test-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def data_dir(place: Path) -> Path:
    directory = place / "data"
    directory.mkdir()
    return directory


@pytest.fixture
def distribution(place: Path, fake_programs: FakePrograms) -> Distribution:
    bin_dir = fake_programs(place / "bin", "17.2", script=REPORT)
    (bin_dir / "psql").write_text(f"#!/bin/sh\n{REPORT}\n")
    return Distribution(image_id="postgres@sha256:0", version="17.2", major=17, bin_dir=bin_dir)


@pytest.fixture
def launcher(distribution: Distribution, data_dir: Path, place: Path) -> Launcher:
    return Launcher(distribution, data_dir, None, place / "public")


def output(process: subprocess.Popen[bytes]) -> list[str]:
    return process.communicate(timeout=30)[0].decode().splitlines()


def client(launcher: Launcher, program: str = "psql", **changes: object) -> list[str]:
    options: dict[str, object] = {
        "port": 6543,
        "dbname": "postgres",
        "cwd": None,
        "stdin": None,
        "stdout": subprocess.PIPE,
        "stderr": None,
        "environment": {},
    }
    return output(launcher.client(program, ["-X"], **{**options, **changes}))  # type: ignore[arg-type]


def test_a_server_sees_nothing_of_the_engines_environment(
    launcher: Launcher, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQLRS_SECRET", "token")
    with launcher.server("postgres", ["-c", "a=b"], output=subprocess.PIPE) as process:
        lines = output(process)
        assert os.WEXITSTATUS(process.returncode) == 0
    arguments = [line.split(" ", 1)[1] for line in lines if line.startswith("argument ")]
    assert arguments == ["-D", str(data_dir), "-c", "a=b"]
    names = {line.partition("=")[0] for line in lines if "=" in line and " " not in line}
    assert names <= {"PATH", "LANG", "TZ", "PWD", "SHLVL", "_"}
    assert "TZ=UTC" in lines
    assert "cwd /" in lines


def test_a_server_program_that_cannot_be_run_is_an_error(launcher: Launcher) -> None:
    with pytest.raises(ClusterFailed, match="cannot run pg_nonsense"):
        launcher.server("pg_nonsense", [], output=subprocess.DEVNULL)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("tool", [True, False])
def test_a_server_runs_as_its_user_without_any_other_group(
    distribution: Distribution,
    data_dir: Path,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    tool: bool,
) -> None:
    if not tool:
        monkeypatch.setattr(module, "switch_user", lambda user: [])
    launcher = Launcher(distribution, data_dir, NOBODY, place / "public")
    with launcher.server("postgres", [], output=subprocess.PIPE) as process:
        assert output(process)[-2:] == [str(NOBODY.uid), str(NOBODY.gid)]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_closed_directory_is_handed_over_as_a_descriptor(
    distribution: Distribution, data_dir: Path, place: Path
) -> None:
    (data_dir / "inner").mkdir()
    data_dir.chmod(0o700)
    launcher = Launcher(distribution, data_dir / "inner", NOBODY, place / "public")
    with launcher.server("postgres", [], output=subprocess.PIPE) as process:
        lines = output(process)
    assert lines[1].startswith("argument /proc/self/fd/")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("program", ["psql", "raster2pgsql"])
def test_root_runs_no_program_of_an_image(
    distribution: Distribution,
    data_dir: Path,
    place: Path,
    fake_programs: FakePrograms,
    program: str,
) -> None:
    """Those of this machine run as root, as always; what only the image has does not."""
    own = distribution.bin_dir
    (own / "raster2pgsql").write_text(f"#!/bin/sh\n{REPORT}\n")
    (own / "raster2pgsql").chmod(0o755)
    clients = fake_programs(place / "clients", "18.1")
    (clients / "psql").write_text(f"#!/bin/sh\n{REPORT}\necho of this machine\n")
    os.chown(data_dir, NOBODY.uid, NOBODY.gid)
    image = replace(distribution, origin="image", clients=clients)
    lines = client(Launcher(image, data_dir, NOBODY, place / "public"), program)
    path = next(line for line in lines if line.startswith("PATH="))
    if program == "psql":
        assert lines[-1] == "of this machine"
        assert lines[-3] == "0"
        assert str(own) not in path
    else:
        assert lines[-2:] == [str(NOBODY.uid), str(NOBODY.gid)]
        assert str(own) in path


def test_only_the_setpriv_of_util_linux_switches_users(tmp_path: Path) -> None:
    assert switch_user(NOBODY, str(tmp_path)) == []
    tool = tmp_path / "setpriv"
    tool.touch(0o755)
    assert switch_user(NOBODY, str(tmp_path)) == [
        str(tool),
        "--reuid=65534",
        "--regid=65533",
        "--clear-groups",
        "--",
    ]
    tool.rename(tmp_path / "busybox")
    tool.symlink_to("busybox")
    assert switch_user(NOBODY, str(tmp_path)) == []


def test_a_client_is_told_where_to_connect(
    launcher: Launcher, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "token")
    lines = client(launcher, cwd=place, dbname="other", environment={"PGAPPNAME": "mine"})
    assert "argument -X" in lines
    assert f"cwd {place}" in lines
    assert {"PGPORT=6543", "PGUSER=sqlrs", "PGDATABASE=other", "PGAPPNAME=mine"} <= {*lines}
    assert any(line.startswith("PGHOST=/proc/self/fd/") for line in lines)
    assert f"PATH={place}/bin:/usr/local/bin:/usr/bin:/bin" in lines
    assert not any("token" in line for line in lines)
    assert "PGAPPNAME=psql" in client(launcher)
    assert "cwd /" in client(launcher)


def test_a_client_finds_the_socket_by_descriptor(
    launcher: Launcher, distribution: Distribution, data_dir: Path
) -> None:
    (data_dir / "mark").touch()
    psql = distribution.bin_dir / "psql"
    psql.write_text('#!/bin/sh\nls "$PGHOST"\n')
    assert client(launcher) == ["mark"]


def test_without_input_a_client_reads_nothing(
    launcher: Launcher, distribution: Distribution
) -> None:
    (distribution.bin_dir / "psql").write_text("#!/bin/sh\ncat\necho end\n")
    assert client(launcher) == ["end"]


@pytest.mark.parametrize("program", ["", ".", "..", "/bin/sh", "../bin/psql", "bin/psql", "psql/"])
def test_a_client_program_is_a_plain_name(launcher: Launcher, program: str) -> None:
    with pytest.raises(
        InvalidArgument,
        match="invalid name of a PostgreSQL program: write a plain name such as pg_dump",
    ):
        client(launcher, program)


def test_an_unknown_client_program_is_an_error(launcher: Launcher) -> None:
    with pytest.raises(
        InvalidArgument,
        match=r"PostgreSQL 17\.2 has no program of this name: check the spelling: pgbench",
    ):
        client(launcher, "pgbench")


def test_a_client_program_that_cannot_be_run_is_an_error(launcher: Launcher, place: Path) -> None:
    (place / "bin" / "psql").write_text("#!/no/such/interpreter\n")
    with pytest.raises(ClusterFailed, match="cannot run psql"):
        client(launcher)


def test_a_user_without_an_entry_has_the_home_directory_root(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert "HOME=/" in client(launcher)


def test_a_socket_fits_into_107_bytes() -> None:
    longest = "/" + "x" * (107 - len("/.s.PGSQL.65535") - 1)
    assert socket_fits(Path(longest))
    assert not socket_fits(Path(longest + "x"))
    assert not socket_fits(Path("/" + "ö" * 50))


def settings(launcher: Launcher, program: str = "postgres") -> list[str]:
    """Return the settings with which a server is started."""
    lines = output(launcher.server(program, [], output=subprocess.PIPE))
    return [each.removeprefix("argument ") for each in lines if "_path=" in each]


def test_a_server_finds_the_extensions_added_to_it(
    distribution: Distribution, data_dir: Path, place: Path
) -> None:
    added = replace(distribution, additions=place / "additions")
    launcher = Launcher(added, data_dir, None, place / "public")
    assert settings(launcher) == []  # not made yet
    (place / "additions").mkdir()
    assert settings(launcher) == [
        f"extension_control_path=$system:{place}/additions",
        f"dynamic_library_path=$libdir:{place}/additions/lib",
    ]


def test_a_server_looks_where_extensions_may_appear_while_it_runs(
    distribution: Distribution, data_dir: Path, place: Path
) -> None:
    fetched = replace(distribution, fetched=place / "fetched" / "18.6")
    launcher = Launcher(fetched, data_dir, None, place / "public")
    assert settings(launcher) == []
    (place / "fetched").mkdir()
    assert settings(launcher) == [
        f"extension_control_path=$system:{place}/fetched/18.6",
        f"dynamic_library_path=$libdir:{place}/fetched/18.6/lib",
    ]
    both = replace(fetched, additions=place)
    assert settings(Launcher(both, data_dir, None, place / "public")) == [
        f"extension_control_path=$system:{place}:{place}/fetched/18.6",
        f"dynamic_library_path=$libdir:{place}/lib:{place}/fetched/18.6/lib",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_another_user_finds_added_extensions_wherever_they_are(
    distribution: Distribution, data_dir: Path, place: Path
) -> None:
    closed = place / "closed"
    (closed / "additions").mkdir(parents=True)
    closed.chmod(0o700)
    os.chown(data_dir, NOBODY.uid, NOBODY.gid)
    (distribution.bin_dir / "postgres").write_text(
        '#!/bin/sh\nfor each in "$@"; do case "$each" in *_control_path=*) '
        'ls -d "${each#*system:}/." && echo "reached";; esac; done\n'
    )
    (closed / "fetched" / "18.6").mkdir(parents=True)
    for added in (
        replace(distribution, additions=closed / "additions"),
        replace(distribution, fetched=closed / "fetched" / "18.6"),
    ):
        launcher = Launcher(added, data_dir, NOBODY, place / "public")
        lines = output(launcher.server("postgres", [], output=subprocess.PIPE))
        assert lines[-1] == "reached", lines
