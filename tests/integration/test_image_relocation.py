"""The PostgreSQL of a root file system runs in place, as that of an unpacked image."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.fix_postgres import clusters
from support.image_roots import image_config, make_root
from support.waiting import eventually

from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.postgres.images.programs import ImagePrograms
from sqlrs_engine.postgres.images.relocation import make_runnable
from sqlrs_engine.postgres.os_user import OsUser

pytestmark = pytest.mark.postgres

Image = tuple[Distribution, ImagePrograms]

# A file of time zones that says: Japan's time, always (RFC 9636).
TOKYO = b"TZif2" + bytes(15) + b"".join(n.to_bytes(4) for n in (0, 0, 0, 0, 1, 4))
TOKYO += (9 * 3600).to_bytes(4) + b"\0\0JST\0"
TOKYO += TOKYO + b"\nJST-9\n"


@pytest.fixture(scope="module")
def rootfs() -> Iterator[Path]:
    """The place of a root file system: others may enter it, and its name has a blank."""
    place = Path(tempfile.mkdtemp(prefix="sqlrs-test-image "))
    place.chmod(0o755)
    yield place / "rootfs"
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def image(rootfs: Path, distribution: Distribution, os_user: OsUser | None) -> Image:
    """A distribution inside an image, which was moved after it had been made runnable."""
    before = rootfs.with_name(f"temporary-{distribution.origin}")
    bin_dir = make_root(before, distribution)
    zones = before / "usr/share/zoneinfo"
    (zones / "Middle").mkdir(parents=True)
    for name in ("UTC", "GMT", "Middle/Earth"):
        (zones / name).write_bytes(TOKYO)
    programs = make_runnable(
        before, image_config(PATH=f"/usr/sbin:{bin_dir}", PG_MAJOR="9"), os_user=os_user
    )
    after = before.rename(rootfs.with_name(distribution.origin))
    inside = Distribution(
        image_id="postgres@sha256:" + f"{distribution.major:064x}",
        version=programs.version,
        major=programs.major,
        bin_dir=after / programs.bin_dir,
        origin="image",
    )
    return inside, programs


@pytest.fixture(scope="module")
def server(
    image: Image,
    initialised: Callable[[Distribution], Path],
    os_user: OsUser | None,
    public_root: Path,
) -> Iterator[Cluster]:
    """A server of the image that runs without a port."""
    with clusters(initialised, os_user, public_root) as make:
        cluster = make(image[0])
        cluster.start(port=None)
        yield cluster


def test_an_image_says_what_its_programs_say(image, distribution):
    programs = image[1]
    told = subprocess.run(
        [distribution.bin_dir / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    assert (programs.version, programs.major) == (distribution.version, distribution.major)
    assert programs.banner == told.stdout.strip()
    assert {"plpgsql", "pg_trgm"} <= set(programs.extensions)


def test_a_server_is_a_process_named_postgres_with_its_own_titles(server, image):
    running = server.postmaster()
    assert running is not None
    process = Path("/proc", str(running.pid))
    assert (process / "comm").read_text() == "postgres\n"
    assert (process / "exe").readlink().is_relative_to(image[0].bin_dir.parent.parent)

    def titles() -> list[str]:
        found = []
        for child in psutil.Process(running.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # such as one that only began
                found += child.cmdline()[:1]
        return found

    eventually(
        lambda: any(each.startswith("postgres: checkpointer") for each in titles()), "its title"
    )


def test_everything_that_a_server_loads_is_the_images(server, image):
    with server.connect(None) as connection:
        connection.execute("CREATE EXTENSION pg_trgm")
        connection.execute("SELECT similarity('word', 'two words')")
        pid = connection.info.backend_pid
        loaded = {
            line.split(maxsplit=5)[5]
            for line in Path("/proc", str(pid), "maps").read_text().splitlines()
            if ".so" in line
        }
    root = str(image[0].bin_dir.parent.parent)
    assert any("libc.so" in each for each in loaded)
    assert not [each for each in loaded if not each.startswith(root)]


def test_programs_that_sql_starts_are_the_machines_in_a_clean_environment(server):
    with server.connect(None) as connection:
        connection.execute("CREATE TEMP TABLE told (line text)")
        connection.execute("COPY told FROM PROGRAM 'sh -c env'")
        lines = [str(line) for (line,) in connection.execute("SELECT line FROM told")]
    assert not [each for each in lines if each.startswith("LD_")]
    assert "PATH=/usr/local/bin:/usr/bin:/bin" in lines


@pytest.mark.parametrize(
    "command",
    [
        ("psql", "-Xc", "SELECT 1", "-c", r"\! uname -s"),
        ("pg_dump", "--schema-only"),
        ("pg_dumpall", "--schema-only"),
        ("pgbench", "--initialize", "--quiet"),
    ],
    ids=lambda command: command[0],
)
def test_client_programs_run(server, command, image):
    if not (image[0].bin_dir / command[0]).exists():
        pytest.skip(f"this PostgreSQL has no {command[0]}")
    process = server.client(
        *(command[0], command[1:]), port=None, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = process.communicate()[0].decode()
    assert process.returncode == 0, output
    if command[0] == "psql":
        assert output.endswith("Linux\n")


def test_time_zones_are_the_images(server, image):
    if image[0].major >= 18:
        pytest.skip("this PostgreSQL has time zones of its own")
    with server.connect(None) as connection:
        connection.execute("SET timezone TO 'Middle/Earth'")
        row = connection.execute("SELECT '2024-01-01 12:00Z'::timestamptz::text").fetchone()
    assert row == ("2024-01-01 21:00:00+09",)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_data_directory_that_the_servers_user_cannot_reach_is_found(
    tmp_path, image, make_cluster
):
    tmp_path.chmod(0o700)
    cluster = make_cluster(image[0], parent=tmp_path)
    cluster.start(port=None)
    with cluster.connect(None) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
