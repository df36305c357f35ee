"""The image store: publication, references, removal, collection."""

import contextlib
import json
import os
import stat
import threading
from pathlib import Path, PurePosixPath

import pytest
from support.waiting import eventually

from sqlrs_engine.errors import Cancelled, NotFound, Unavailable
from sqlrs_engine.postgres.images.file_locks import exclusive
from sqlrs_engine.postgres.images.image_store import IMAGE_FORMAT, ImageStore, StoredImage
from sqlrs_engine.postgres.images.manifests import ImageConfig, digest_of
from sqlrs_engine.postgres.images.programs import ImagePrograms
from sqlrs_engine.postgres.images.references import parse_reference
from sqlrs_engine.processes.cancellation import Cancellation

ONE, TWO = digest_of(b"1"), digest_of(b"2")
LOWER, UPPER = digest_of(b"lower"), digest_of(b"upper")


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def publish(store: ImageStore, digest: str = ONE, diff_ids: tuple[str, ...] = ()) -> StoredImage:
    config = ImageConfig(
        os="linux", architecture="amd64", env={"A": "b"}, cmd=("postgres",), diff_ids=diff_ids
    )
    programs = ImagePrograms(
        bin_dir=PurePosixPath("usr/bin"),
        banner="postgres (PostgreSQL) 17.2",
        version="17.2",
        major=17,
        extensions=("plpgsql",),
    )
    with store.pulling(Cancellation()), store.workspace() as made:
        for diff_id in diff_ids:
            layer = store.layout.layer(diff_id)
            layer.mkdir(exist_ok=True)
            (layer / "content").write_bytes(b"x" * 10_000)
            (layer / "entries.json").touch()
        (made / "image" / "rootfs").mkdir(parents=True)
        image = StoredImage(
            digest=digest,
            rootfs=made / "image" / "rootfs",
            config=config,
            programs=programs,
            size_bytes=5,
            origin="docker.io",
        )
        return store.publish(made / "image", image)


def test_an_empty_store_has_no_directory(store: ImageStore) -> None:
    assert store.images() == []
    assert store.find(parse_reference("postgres")) is None
    assert store.collect() is not None
    assert not store.root.exists()


def test_a_published_image_is_found(store: ImageStore) -> None:
    image = publish(store, diff_ids=(LOWER,))
    assert store.images() == [image]
    assert store.by_digest(ONE) == image
    assert store.by_digest(TWO) is None
    assert store.by_digest("../x") is None
    assert image.bin_dir == store.root / ONE.removeprefix("sha256:") / "rootfs" / "usr" / "bin"
    assert [*store.layout.temporary.iterdir()] == []


def test_all_users_may_enter_an_image(store: ImageStore) -> None:
    image = publish(store)
    for directory in (store.root, image.rootfs.parent):
        assert stat.S_IMODE(directory.stat().st_mode) & 0o055 == 0o055


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_all_users_reach_the_images_of_root_whatever_its_umask(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "sqlrs-engine" / "images")
    before = os.umask(0o077)
    try:
        publish(store)
    finally:
        os.umask(before)
    for directory in (store.root, store.root.parent):
        assert stat.S_IMODE(directory.stat().st_mode) & 0o005 == 0o005


def test_references_mean_images_until_they_mean_another(store: ImageStore) -> None:
    publish(store)
    publish(store, TWO)
    tag, other = parse_reference("postgres:17"), parse_reference("ghcr.io/me/pg")
    listed = parse_reference(f"postgres@{digest_of(b'index')}")
    for reference in (listed, tag, other):
        store.remember(reference, ONE)
    found = store.find(tag)
    assert found is not None
    assert found.references == ("postgres:17", "ghcr.io/me/pg:latest", listed.familiar)
    assert store.find(parse_reference(f"postgres:16@{listed.digest}")) == found
    assert store.find(parse_reference(f"anything@{ONE}")) == found
    store.remember(tag, TWO)
    store.forget(other)
    assert store.find(tag) == store.by_digest(TWO)
    assert store.find(other) is None


def test_removal_takes_the_references_and_the_layers_that_nothing_else_uses(
    store: ImageStore,
) -> None:
    publish(store, ONE, (LOWER, UPPER))
    kept = publish(store, TWO, (LOWER,))
    store.remember(parse_reference("postgres:17"), ONE)
    removed = store.remove(ONE)
    assert removed.layers == 1
    assert removed.freed_bytes >= 10_000
    assert store.images() == [kept]
    assert [*store.layout.layers.iterdir()] == [store.layout.layer(LOWER)]
    assert [*store.layout.references.iterdir()] == []
    with pytest.raises(NotFound, match="image not found"):
        store.remove(ONE)


def test_nothing_shared_is_removed_while_a_pull_is_under_way(store: ImageStore) -> None:
    publish(store, ONE, (LOWER,))
    with store.pulling(Cancellation()):
        assert store.collect() is None
        assert store.remove(ONE).layers == 0
        assert store.layout.layer(LOWER).exists()
    collected = store.collect()
    assert collected is not None
    assert collected.layers == 1


def test_what_is_being_removed_is_no_leftover_of_a_dead_pull(store: ImageStore) -> None:
    with store.pulling(Cancellation()):
        publish(store, ONE)
    with exclusive(store.layout.image_lock(ONE), Cancellation()):
        thread = threading.Thread(target=store.remove, args=(ONE,))
        thread.start()
        eventually(lambda: store.collect() is None)
    thread.join(10)
    assert store.images() == []


def test_a_full_disk_keeps_no_image_from_being_removed(small_disk: Path) -> None:
    store = ImageStore(small_disk / "images")
    with store.pulling(Cancellation()):
        publish(store, ONE, (LOWER,))
        layer = store.layout.layer(LOWER)
    with contextlib.suppress(OSError), (small_disk / "filling").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))
    store.remove(ONE)
    assert (store.images(), layer.exists()) == ([], False)


def test_a_collection_removes_what_dead_pulls_have_left(store: ImageStore) -> None:
    image = publish(store)
    store.remember(parse_reference("postgres:17"), ONE)
    store.remember(parse_reference("postgres:16"), TWO)
    (store.layout.temporary / "left").mkdir()
    store.layout.download(LOWER).write_bytes(b"x" * 10_000)
    collected = store.collect()
    assert collected is not None
    assert collected.downloads == 1
    assert collected.freed_bytes >= 10_000
    assert [*store.layout.temporary.iterdir()] == []
    assert store.images()[0].references == ("postgres:17",)
    assert store.find(parse_reference("postgres:16")) is None
    assert image.rootfs.exists()


def test_a_store_that_cannot_be_changed_says_what_to_check(store: ImageStore) -> None:
    publish(store)
    store.layout.downloads.rmdir()
    store.layout.downloads.touch()  # stands for a directory without permissions: tests may be root
    with pytest.raises(Unavailable, match=f"cannot change the images in {store.root}: check"):
        store.collect()


def test_the_next_pull_removes_what_dead_pulls_have_left(store: ImageStore) -> None:
    publish(store)
    layers = [*store.layout.layers.iterdir()]
    (store.layout.temporary / "left").mkdir()
    store.layout.layer(digest_of(b"incomplete")).mkdir()
    store.layout.download(LOWER).write_bytes(b"part")
    (store.layout.references / ".name.new").touch()
    references = len(store.images()[0].references)
    with store.pulling(Cancellation()):
        assert [*store.layout.temporary.iterdir()] == []
        assert [*store.layout.layers.iterdir()] == layers
        assert len([*store.layout.references.iterdir()]) == references
        (store.layout.temporary / "used").mkdir()
        with store.pulling(Cancellation()):
            assert (store.layout.temporary / "used").exists()
    assert store.layout.download(LOWER).exists()


@pytest.mark.parametrize(
    ("content", "removed"),
    [
        ("", True),
        ("[]", True),
        (json.dumps({"format": 0}), True),
        (json.dumps({"format": IMAGE_FORMAT}), False),
        (json.dumps({"format": IMAGE_FORMAT + 1}), False),
    ],
)
def test_an_image_that_this_version_cannot_use_is_left_out(
    store: ImageStore, content: str, removed: bool
) -> None:
    home = publish(store).rootfs.parent
    (home / "image.json").write_text(content)
    assert store.images() == []
    store.collect()
    assert home.exists() is not removed
    assert publish(store) == store.by_digest(ONE)


def test_a_waiting_lock_says_so_and_can_be_cancelled(tmp_path: Path) -> None:
    cancellation = Cancellation()
    waits = threading.Event()
    failures: list[Exception] = []

    def wait() -> None:
        try:
            with exclusive(tmp_path / "lock", cancellation, waits.set):
                pass
        except Cancelled as failure:
            failures.append(failure)

    with exclusive(tmp_path / "lock", Cancellation()):
        thread = threading.Thread(target=wait)
        thread.start()
        assert waits.wait(10)
        cancellation.cancel()
        thread.join(10)
    assert len(failures) == 1


def test_a_lock_is_handed_over(tmp_path: Path) -> None:
    held: list[int] = []

    def hold() -> None:
        with exclusive(tmp_path / "lock", Cancellation()):
            held.append(1)

    with exclusive(tmp_path / "lock", Cancellation()):
        thread = threading.Thread(target=hold)
        thread.start()
        assert held == []
    eventually(lambda: bool(held))
    thread.join(10)
