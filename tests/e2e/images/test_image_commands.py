"""The commands for images, as people type them: ``postgres pull``, ``load``, ``rm``, ``gc``."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fault_proxy import BLOB, MANIFEST, FaultyRegistry
from support.fix_engine import environment
from support.fix_images import PushedImage, PushImage
from support.image_engines import docker_login, files_in, kept_bytes, value
from support.images import (
    Image,
    Index,
    LayerWriter,
    pack_layout,
    settings,
    write_docker_archive,
    write_layout,
)
from support.postgres_images import ARCHITECTURE
from support.registry import PASSWORD, Registry
from support.shell import Shell
from support.waiting import eventually

pytestmark = pytest.mark.postgres


@pytest.fixture
def shell(tmp_path: Path, image_store: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path, SQLRS_IMAGE_STORE=str(image_store))
    yield shell
    shell.close()


def listed(shell: Shell) -> list[dict[str, Any]]:
    """Return the images of registries and files that ``postgres list`` shows."""
    found = shell.json("postgres", "list")
    assert isinstance(found, list)
    return [each for each in found if each["origin"] == "image"]


def start(shell: Shell, *args: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        shell.command(*args),
        env=environment(shell.home, **shell.environ),
        cwd=shell.home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def test_a_day_with_images(
    shell: Shell, small_postgres: PushedImage, proxy: FaultyRegistry
) -> None:
    name = small_postgres.through(proxy)
    pulled = shell.run("postgres", "pull", name)
    assert pulled.returncode == 0, pulled.stderr
    assert name in pulled.stdout
    (image,) = listed(shell)
    assert image["digest"] == small_postgres.image.digest
    assert image["references"] == [name]
    table = shell.out("postgres", "list")
    assert name in table

    # The engine finds what the command has pulled.
    asked = len(proxy.requests)
    (shell.home / "schema.sql").write_text("create table t (n int);\n")
    dsn = shell.out("prepare", "--image", name, "--", "-f", "schema.sql").strip()
    assert value(dsn, "select count(*) from t") == 0
    assert len(proxy.requests) == asked

    again = shell.run("postgres", "pull", name)
    assert again.returncode == 0, again.stderr
    assert proxy.sent() == proxy.sent(f"{BLOB}.*"), "layers were downloaded again"
    assert len({each.path for each in proxy.gets()}) == len(proxy.gets())

    needed = shell.run("postgres", "rm", name)
    assert needed.returncode != 0
    assert "1 state" in needed.stderr
    assert len(listed(shell)) == 1
    (state,) = json.loads(shell.out("ls", "states", "--json"))
    shell.out("rm", "--recurse", "--force", state["state_id"])
    shell.out("postgres", "rm", name)
    assert listed(shell) == []


@pytest.mark.parametrize("how", ["directory", "archive"])
def test_an_oci_layout_is_loaded(
    shell: Shell, small_postgres: PushedImage, tmp_path: Path, how: str
) -> None:
    layout = write_layout(tmp_path / "layout", small_postgres.image, "example.com/pg:mine")
    source = layout if how == "directory" else pack_layout(tmp_path / "layout.tar", layout)
    loaded = shell.run("postgres", "load", str(source))
    assert loaded.returncode == 0, loaded.stderr
    (image,) = listed(shell)
    assert image["digest"] == small_postgres.image.digest
    assert "example.com/pg:mine" in image["references"]


def test_the_platform_of_an_oci_layout_is_chosen(
    shell: Shell, small_postgres: PushedImage, tmp_path: Path
) -> None:
    assert isinstance(small_postgres.image, Image)
    foreign = Image(small_postgres.image.layers[:1], {}, architecture="s390x")
    index = Index((foreign, small_postgres.image))
    layout = write_layout(tmp_path / "layout", index, "example.com/pg:mine")
    shell.out("postgres", "load", str(layout))
    (image,) = listed(shell)
    assert image["digest"] == small_postgres.image.digest


def test_a_docker_archive_is_loaded(
    shell: Shell, small_postgres: PushedImage, tmp_path: Path
) -> None:
    assert isinstance(small_postgres.image, Image)
    image = small_postgres.image
    with LayerWriter(tmp_path / "base") as tree:
        subprocess.run(
            ["tar", "xzf", image.layers[0].path, "-C", _made(tmp_path / "unpacked")], check=True
        )
        tree.tree(tmp_path / "unpacked", ".")
    plain = Image((tree.layer, image.layers[1]), image.config_fields, ARCHITECTURE)
    archive = write_docker_archive(tmp_path / "saved.tar", plain, "mine/postgres:1")
    loaded = shell.run("postgres", "load", str(archive))
    assert loaded.returncode == 0, loaded.stderr
    assert "mine/postgres:1" in loaded.stdout
    dsn = shell.out("prepare", "--image", "mine/postgres:1", "--", "-c", "select 1").strip()
    assert value(dsn, "select 1") == 1


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def test_files_that_are_no_images_are_refused(shell: Shell, image_store: Path) -> None:
    (shell.home / "text.tar").write_text("not an archive\n")
    (shell.home / "empty").mkdir()
    for source in ("text.tar", "empty", "missing.tar"):
        ended = shell.run("postgres", "load", source)
        assert ended.returncode != 0
        assert "Traceback" not in ended.stderr
        assert source in ended.stderr
    assert files_in(image_store) == []


def test_a_pull_that_fails_is_explained(
    shell: Shell,
    image_store: Path,
    registry: Registry,
    protected_registry: Registry,
    small_postgres: PushedImage,
    free_port: int,
) -> None:
    missing = shell.run("postgres", "pull", f"{registry.host}/no/such:tag")
    assert missing.returncode == 1
    assert "no/such:tag" in missing.stderr
    closed = shell.run("postgres", "pull", f"localhost:{free_port}/x")
    assert closed.returncode == 1
    assert f"localhost:{free_port}" in closed.stderr
    secret = f"{protected_registry.host}/{small_postgres.repository}:{small_postgres.tag}"
    refused = shell.run("postgres", "pull", secret)
    assert refused.returncode == 1
    assert "login" in refused.stderr
    docker_login(shell.home, protected_registry, "wrong-password")
    refused = shell.run("postgres", "pull", secret)
    assert refused.returncode == 1
    assert "wrong-password" not in refused.stderr
    nonsense = shell.run("postgres", "pull", "Not An Image")
    assert nonsense.returncode == 2
    for ended in (missing, closed, refused, nonsense):
        assert "Traceback" not in ended.stderr
        assert ended.stdout == ""
    assert files_in(image_store) == []

    docker_login(shell.home, protected_registry, PASSWORD)
    assert shell.run("postgres", "pull", secret).returncode == 0


def test_a_pull_that_is_killed_goes_on_with_the_next(
    shell: Shell, image_store: Path, small_postgres: PushedImage, proxy: FaultyRegistry
) -> None:
    assert isinstance(small_postgres.image, Image)
    big = small_postgres.image.layers[1]
    hold = proxy.add(big.digest, hold_after=20_000_000)
    pull = start(shell, "postgres", "pull", small_postgres.through(proxy))
    eventually(hold.held.is_set, "a pull that stands still")
    eventually(lambda: kept_bytes(image_store) > 15_000_000, "a kept part of the layer")
    pull.kill()
    pull.communicate()
    assert listed(shell) == []
    proxy.clear()
    shell.out("postgres", "pull", small_postgres.through(proxy))
    assert len(listed(shell)) == 1
    assert all(each.range for each in proxy.gets(big.digest))
    assert proxy.sent(big.digest) < big.size
    assert not [*image_store.glob("temporary/*")]
    assert not [*image_store.glob("downloads/*")]


def test_commands_at_the_same_time_share_one_download(
    shell: Shell, small_postgres: PushedImage, proxy: FaultyRegistry
) -> None:
    assert isinstance(small_postgres.image, Image)
    big = small_postgres.image.layers[1].digest
    hold = proxy.add(big, hold_after=100_000)
    name = small_postgres.through(proxy)
    pulls = [start(shell, "postgres", "pull", name) for _ in range(2)]
    eventually(hold.held.is_set, "a pull that stands still")
    eventually(lambda: len(proxy.gets(MANIFEST)) == 2, "the other pull")
    hold.release.set()
    for pull in pulls:
        _, err = pull.communicate(timeout=60)
        assert pull.returncode == 0, err
    assert len(proxy.gets(big)) == 1
    assert len(listed(shell)) == 1


@pytest.mark.parametrize("command", ["pull", "prepare"])
def test_ctrl_c_ends_a_pull(
    shell: Shell,
    image_store: Path,
    small_postgres: PushedImage,
    proxy: FaultyRegistry,
    command: str,
) -> None:
    hold = proxy.add(BLOB, times=None, hold_after=100_000)
    name = small_postgres.through(proxy)
    arguments = {
        "pull": ("postgres", "pull", name),
        "prepare": ("prepare", "--image", name, "--", "-c", "select 1"),
    }
    process = start(shell, *arguments[command])
    eventually(hold.held.is_set, "a pull that stands still")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert listed(shell) == []
    eventually(lambda: not [*image_store.glob("temporary/*")], "the end of what was unpacked")


def test_layers_stay_while_an_image_needs_them(
    shell: Shell,
    image_store: Path,
    small_postgres: PushedImage,
    push_image: PushImage,
    tmp_path: Path,
) -> None:
    with LayerWriter(tmp_path / "own", "gzip") as tree:
        tree.file("etc/site", b"of the second image\n")
    assert isinstance(small_postgres.image, Image)
    first = small_postgres.image
    second = push_image(Image((*first.layers, tree.layer), first.config_fields, ARCHITECTURE))
    shell.out("postgres", "pull", small_postgres.reference)
    shell.out("postgres", "pull", second.reference)
    shell.out("postgres", "rm", small_postgres.reference)
    shell.out("postgres", "gc")
    (image,) = listed(shell)
    assert image["references"] == [second.reference]
    program = subprocess.run(
        [Path(image["bin_dir"]) / "postgres", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert image["version"] in program.stdout
    shell.out("postgres", "rm", second.reference)
    shell.out("postgres", "gc")
    assert files_in(image_store) == []


def test_an_unfinished_download_goes_with_gc(
    shell: Shell, image_store: Path, small_postgres: PushedImage, proxy: FaultyRegistry
) -> None:
    hold = proxy.add(BLOB, times=None, hold_after=1_000_000)
    pull = start(shell, "postgres", "pull", small_postgres.through(proxy))
    eventually(hold.held.is_set, "a pull that stands still")
    pull.kill()
    pull.communicate()
    shell.out("postgres", "gc")
    assert files_in(image_store) == []


def test_removing_what_is_not_there_is_explained(shell: Shell) -> None:
    ended = shell.run("postgres", "rm", "localhost:5000/not/here:1")
    assert ended.returncode != 0
    assert "localhost:5000/not/here:1" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_image_without_postgresql_is_not_kept(
    shell: Shell, image_store: Path, push_image: PushImage, tmp_path: Path
) -> None:
    with LayerWriter(tmp_path / "layer", "gzip") as tree:
        tree.file("etc/os-release", b"ID=nothing\n")
    image = Image((tree.layer,), settings(), architecture=ARCHITECTURE)
    ended = shell.run("postgres", "pull", push_image(image).reference)
    assert ended.returncode == 1
    assert "PostgreSQL" in ended.stderr
    assert listed(shell) == []
    assert not [*image_store.glob("[0-9a-f]" * 64)]
