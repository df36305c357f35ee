"""Pulls: what is asked for, what is shared, what is left when one fails or is killed."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.images import Image, Index, Layer
from support.registry_double import BLOBS, MANIFESTS, Answer, RegistryDouble
from support.waiting import eventually

from sqlrs_engine.errors import (
    Cancelled,
    EngineError,
    ImageCorrupt,
    ImageUnavailable,
    ImageUnusable,
    InvalidArgument,
    RegistryUnavailable,
    StorageFull,
    Unavailable,
)
from sqlrs_engine.postgres.images import assembly
from sqlrs_engine.postgres.images.assembly import MakeRunnable
from sqlrs_engine.postgres.images.image_store import ImageStore, StoredImage
from sqlrs_engine.postgres.images.platforms import Platform
from sqlrs_engine.postgres.images.progress import Progress
from sqlrs_engine.postgres.images.pull import RegistryAccess, pull
from sqlrs_engine.postgres.images.references import parse_reference
from sqlrs_engine.processes.cancellation import Cancellation

AMD64 = Platform(os="linux", architecture="amd64")
LARGE = os.urandom(600_000)

MakeLayer = Callable[..., Layer]
MakeImage = Callable[..., Image]
Pull = Callable[..., StoredImage]


@pytest.fixture
def pull_it(store: ImageStore, runnable: MakeRunnable) -> Pull:
    """Pull a reference into the test's store."""

    def pull_it(reference: str, **options: object) -> StoredImage:
        fields = {"make_runnable": runnable, "platform": AMD64, **options}
        return pull(parse_reference(reference), store, RegistryAccess(), **fields)  # type: ignore[arg-type]

    return pull_it


@pytest.fixture
def served(double: RegistryDouble, make_layer: MakeLayer, make_image: MakeImage) -> "Served":
    layers = (
        make_layer({"usr/bin/postgres": b"program", "etc/passwd": b"root"}),
        make_layer({"usr/share/large": LARGE}, compression="plain"),
    )
    image = make_image(*layers)
    return Served(double.serve("org/pg", "1", image), image)


class Served:
    """An image that the double has; its second layer is large."""

    def __init__(self, reference: str, image: Image) -> None:
        self.reference = reference
        self.image = image

    @property
    def large(self) -> str:
        """The path of the large layer."""
        return f"{BLOBS}{self.image.layers[1].digest}"


def is_clean(store: ImageStore) -> bool:
    """Return whether nothing is left of a pull."""
    layout = store.layout
    places = (layout.temporary, layout.layers, layout.downloads, layout.references)
    return store.images() == [] and not [left for place in places for left in place.iterdir()]


def test_an_image_is_pulled(pull_it: Pull, served: Served, store: ImageStore) -> None:
    image = pull_it(served.reference)
    assert image.digest == served.image.digest
    assert (image.rootfs / "usr/bin/postgres").read_bytes() == b"program"
    assert (image.rootfs / "usr/share/large").read_bytes() == LARGE
    assert image.size_bytes == len(LARGE) + len(b"program") + len(b"root")
    assert image.origin == parse_reference(served.reference).registry
    assert image.references == (
        served.reference,
        f"{served.reference.removesuffix(':1')}@{served.image.digest}",
    )
    assert store.images() == [image]
    assert [*store.layout.temporary.iterdir(), *store.layout.downloads.iterdir()] == []


@pytest.mark.parametrize("flavour", ["oci", "docker"])
@pytest.mark.parametrize("compression", ["gzip", "zstd", "plain"])
def test_formats(
    pull_it: Pull,
    double: RegistryDouble,
    make_layer: MakeLayer,
    make_image: MakeImage,
    flavour: str,
    compression: str,
) -> None:
    layer = make_layer({"a": b"content"}, compression=compression)
    image = pull_it(double.serve("org/pg", "1", make_image(layer, flavour=flavour)))
    assert (image.rootfs / "a").read_bytes() == b"content"


@pytest.mark.parametrize("flavour", ["oci", "docker"])
def test_the_platform_is_chosen_from_the_index(
    pull_it: Pull,
    double: RegistryDouble,
    make_layer: MakeLayer,
    make_image: MakeImage,
    flavour: str,
) -> None:
    images = tuple(
        make_image(make_layer({name: b""}), architecture=name) for name in ("arm64", "amd64")
    )
    index = Index(images, flavour)  # type: ignore[arg-type]
    reference = double.serve("org/pg", "1", index)
    image = pull_it(reference)
    assert image.digest == images[1].digest
    assert f"@{index.digest}" in image.references[1]
    asked = len(double.requests)
    again = pull_it(f"{double.host}/org/pg@{index.digest}")
    assert (again.digest, len(double.requests)) == (image.digest, asked)
    with pytest.raises(ImageUnavailable, match="is not for linux/s390x") as failure:
        pull_it(f"{reference}", platform=Platform(os="linux", architecture="s390x"))
    assert failure.value.details == "its platforms: linux/arm64, linux/amd64"


def test_an_image_of_another_platform_is_refused(
    pull_it: Pull, double: RegistryDouble, make_image: MakeImage, store: ImageStore
) -> None:
    reference = double.serve("org/pg", "1", make_image(architecture="s390x"))
    with pytest.raises(ImageUnavailable, match="is not for linux/amd64"):
        pull_it(reference)
    assert is_clean(store)


def test_an_image_that_is_here_costs_one_question(
    pull_it: Pull, double: RegistryDouble, served: Served
) -> None:
    digest = {"Docker-Content-Digest": served.image.digest}
    pull_it(served.reference)
    double.requests.clear()
    double.rule(MANIFESTS, Answer(200, b"", digest))
    pull_it(served.reference)
    assert [each.method for each in double.requests] == ["HEAD"]


def test_a_tag_that_has_moved_means_the_new_image(
    pull_it: Pull, double: RegistryDouble, served: Served, store: ImageStore, make_image: MakeImage
) -> None:
    old = pull_it(served.reference)
    image = make_image()
    double.serve("org/pg", "1", image)
    new = pull_it(served.reference)
    assert new.digest == image.digest
    assert store.find(parse_reference(served.reference)) == new
    there = store.by_digest(old.digest)
    assert there is not None
    assert [each.partition("@")[1] for each in there.references] == ["@"]


def test_layers_are_shared(
    pull_it: Pull,
    double: RegistryDouble,
    served: Served,
    make_layer: MakeLayer,
    make_image: MakeImage,
) -> None:
    one = pull_it(served.reference)
    double.requests.clear()
    more = make_layer({"more": b""})
    other = pull_it(double.serve("org/other", "1", make_image(*served.image.layers, more)))
    asked = [each.path.rpartition("/")[2] for each in double.seen(BLOBS)]
    assert len(asked) == 2  # the configuration and the new layer
    assert more.digest in asked
    shared = [image.rootfs / "usr/share/large" for image in (one, other)]
    assert shared[0].samefile(shared[1])


def test_an_image_may_have_a_layer_twice(
    pull_it: Pull, double: RegistryDouble, served: Served, make_image: MakeImage
) -> None:
    first, second = served.image.layers
    image = pull_it(double.serve("org/pg", "2", make_image(first, second, first)))
    assert (image.rootfs / "usr/bin/postgres").exists()


def test_an_interrupted_pull_goes_on_where_it_ended(
    pull_it: Pull, double: RegistryDouble, served: Served
) -> None:
    content = served.image.layers[1].path.read_bytes()
    double.rule(served.large, Answer(200, content, cut_after=400_000))
    image = pull_it(served.reference)
    assert [each.headers.get("range") for each in double.seen(served.large)] == [
        None,
        "bytes=400000-",
    ]
    assert (image.rootfs / "usr/share/large").read_bytes() == LARGE


def test_a_later_pull_goes_on_where_a_failed_one_ended(
    pull_it: Pull, double: RegistryDouble, served: Served, store: ImageStore
) -> None:
    content = served.image.layers[1].path.read_bytes()
    double.rule(served.large, Answer(200, content, cut_after=400_000))
    double.rule(served.large, Answer(400, b""), times=3)
    with pytest.raises(RegistryUnavailable):
        pull_it(served.reference)
    assert store.images() == []
    double.requests.clear()
    pull_it(served.reference)
    assert [each.headers.get("range") for each in double.seen(served.large)][-1] == "bytes=400000-"


def test_a_registry_that_ignores_ranges(
    pull_it: Pull, double: RegistryDouble, served: Served
) -> None:
    content = served.image.layers[1].path.read_bytes()
    double.rule(served.large, Answer(200, content, cut_after=400_000))
    double.rule(served.large, Answer(200, content))
    assert (pull_it(served.reference).rootfs / "usr/share/large").read_bytes() == LARGE


def test_a_killed_pull_is_resumed_and_leaves_nothing(
    pull_it: Pull, double: RegistryDouble, served: Served, store: ImageStore
) -> None:
    content = served.image.layers[1].path.read_bytes()
    answer = Answer(200, content, hold_after=400_000)
    double.rule(served.large, answer)
    code = f"""
from pathlib import Path
from sqlrs_engine.postgres.images.image_store import ImageStore
from sqlrs_engine.postgres.images.platforms import Platform
from sqlrs_engine.postgres.images.pull import RegistryAccess, pull
from sqlrs_engine.postgres.images.references import parse_reference
pull(parse_reference({served.reference!r}), ImageStore(Path({str(store.root)!r})), RegistryAccess(),
     make_runnable=None, platform=Platform(os="linux", architecture="amd64"))
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    partial = store.layout.download(served.image.layers[1].digest)
    try:
        assert answer.held.wait(60)
        eventually(lambda: partial.exists() and partial.stat().st_size > 100_000)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        answer.release.set()
    kept = partial.stat().st_size
    assert [*store.layout.temporary.iterdir()]
    double.requests.clear()
    pull_it(served.reference)
    assert double.seen(served.large)[0].headers["range"] == f"bytes={kept}-"
    assert [*store.layout.temporary.iterdir(), *store.layout.downloads.iterdir()] == []


def test_the_file_of_a_layer_that_was_unpacked_is_not_left(
    pull_it: Pull, double: RegistryDouble, served: Served, store: ImageStore, make_image: MakeImage
) -> None:
    pull_it(double.serve("org/pg", "0", make_image(served.image.layers[1])))
    left = store.layout.download(served.image.layers[1].digest)
    left.write_bytes(b"left by a pull that was killed just before it was removed")
    pull_it(served.reference)
    assert not left.exists()


def test_what_an_earlier_pull_has_left_may_be_damaged(
    pull_it: Pull, double: RegistryDouble, served: Served, store: ImageStore
) -> None:
    store.layout.make()
    store.layout.download(served.image.layers[1].digest).write_bytes(bytes(300_000))
    assert (pull_it(served.reference).rootfs / "usr/share/large").read_bytes() == LARGE
    assert len(double.seen(served.large)) == 2


@pytest.mark.parametrize("left", [b"x" * 2_000_000, None])
def test_what_an_earlier_pull_has_left_may_be_too_much_or_complete(
    pull_it: Pull, double: RegistryDouble, served: Served, store: ImageStore, left: bytes | None
) -> None:
    layer = served.image.layers[1]
    store.layout.make()
    store.layout.download(layer.digest).write_bytes(left or layer.path.read_bytes())
    pull_it(served.reference)
    assert len(double.seen(served.large)) == (1 if left else 0)


def test_a_wrong_digest_is_refused_and_nothing_is_kept(
    pull_it: Pull, double: RegistryDouble, served: Served, store: ImageStore
) -> None:
    content = bytearray(served.image.layers[1].path.read_bytes())
    content[300_000] ^= 1
    double.rule(served.large, Answer(200, bytes(content)), times=None)
    with pytest.raises(ImageCorrupt, match="pull"):
        pull_it(served.reference)
    large = served.image.layers[1]
    assert not store.layout.download(large.digest).exists()
    assert not store.layout.layer(large.diff_id).exists()
    assert store.images() == []
    assert [*store.layout.temporary.iterdir(), *store.layout.references.iterdir()] == []


def test_a_layer_that_is_longer_than_stated_is_refused(
    pull_it: Pull, double: RegistryDouble, served: Served, store: ImageStore
) -> None:
    content = served.image.layers[1].path.read_bytes()
    double.rule(served.large, Answer(200, content + bytes(1024)), times=None)
    with pytest.raises(ImageCorrupt):
        pull_it(served.reference)
    assert not store.layout.download(served.image.layers[1].digest).exists()


def test_a_layer_must_be_what_the_configuration_says(
    pull_it: Pull,
    double: RegistryDouble,
    make_layer: MakeLayer,
    make_image: MakeImage,
    store: ImageStore,
) -> None:
    lying = replace(make_layer({"a": b""}), diff_id=make_layer({"b": b""}).diff_id)
    with pytest.raises(ImageCorrupt, match="a layer of the image is damaged"):
        pull_it(double.serve("org/pg", "1", make_image(lying)))
    assert is_clean(store)


def test_a_manifest_must_fit_its_configuration(
    pull_it: Pull, double: RegistryDouble, served: Served, store: ImageStore
) -> None:
    manifest = json.loads(b"".join(served.image.manifest.chunks()))
    manifest["layers"].pop()
    double.put("/v2/org/pg/manifests/2", json.dumps(manifest).encode(), manifest["mediaType"])
    with pytest.raises(ImageCorrupt, match="manifest is unreadable"):
        pull_it(served.reference.removesuffix("1") + "2")
    assert is_clean(store)


def test_an_image_that_cannot_be_made_runnable_is_not_kept(
    pull_it: Pull, served: Served, store: ImageStore
) -> None:
    def refuse(*_: object) -> None:
        raise ImageUnusable("the image has no PostgreSQL: use another image")

    with pytest.raises(ImageUnusable):
        pull_it(served.reference, make_runnable=refuse)
    assert store.images() == []
    assert [*store.layout.temporary.iterdir(), *store.layout.references.iterdir()] == []
    collected = store.collect()
    assert collected is not None
    assert collected.layers == 2


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, Unavailable)],
)
def test_a_disk_that_fails(
    pull_it: Pull,
    served: Served,
    store: ImageStore,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[EngineError],
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(assembly, "unpack_layer", fail)
    with pytest.raises(error):
        pull_it(served.reference)
    assert store.images() == []
    assert [*store.layout.temporary.iterdir()] == []


def test_a_pull_can_be_cancelled(
    pull_it: Pull, double: RegistryDouble, served: Served, store: ImageStore
) -> None:
    content = served.image.layers[1].path.read_bytes()
    answer = Answer(200, content, hold_after=400_000)
    double.rule(served.large, answer)
    cancellation = Cancellation()
    failures: list[Exception] = []

    def work() -> None:
        try:
            pull_it(served.reference, cancellation=cancellation)
        except Cancelled as failure:
            failures.append(failure)

    thread = threading.Thread(target=work)
    thread.start()
    assert answer.held.wait(60)
    cancellation.cancel()
    thread.join(60)
    answer.release.set()
    assert len(failures) == 1
    assert store.images() == []
    assert [*store.layout.temporary.iterdir()] == []


def test_pulls_of_one_image_at_once_do_the_work_once(
    pull_it: Pull, double: RegistryDouble, served: Served
) -> None:
    content = served.image.layers[1].path.read_bytes()
    answer = Answer(200, content, hold_after=1000)
    double.rule(served.large, answer)
    reports: list[Progress] = []
    images: list[StoredImage] = []

    def work() -> None:
        images.append(pull_it(served.reference, on_progress=reports.append))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert answer.held.wait(60)
    eventually(lambda: [each.phase for each in reports].count("waiting") == 2)
    answer.release.set()
    for thread in threads:
        thread.join(60)
    assert len({image.digest for image in images}) == 1
    assert len(images) == 3
    assert len(double.seen(served.large)) == 1


def test_images_that_share_a_layer_download_it_once(
    pull_it: Pull,
    double: RegistryDouble,
    served: Served,
    make_image: MakeImage,
    make_layer: MakeLayer,
) -> None:
    other = make_image(make_layer({"other": b""}), served.image.layers[1])
    references = [served.reference, double.serve("org/pg", "2", other)]
    answer = Answer(200, served.image.layers[1].path.read_bytes(), hold_after=1000)
    double.rule(served.large, answer)
    reports: list[Progress] = []
    threads = [
        threading.Thread(target=pull_it, args=(each,), kwargs={"on_progress": reports.append})
        for each in references
    ]
    for thread in threads:
        thread.start()
    assert answer.held.wait(60)
    eventually(lambda: "waiting" in [each.phase for each in reports])
    answer.release.set()
    for thread in threads:
        thread.join(60)
    assert len(double.seen(served.large)) == 1


def test_progress_counts_bytes_and_layers(pull_it: Pull, served: Served) -> None:
    reports: list[Progress] = []
    pull_it(served.reference, on_progress=reports.append)
    phases = [each.phase for each in reports]
    assert [*dict.fromkeys(phases)] == ["resolving", "downloading", "unpacking", "finishing"]
    total = sum(layer.size for layer in served.image.layers)
    assert (reports[-1].done_bytes, reports[-1].total_bytes) == (total, total)
    assert (reports[-1].done_layers, reports[-1].total_layers) == (2, 2)
    done = [each.done_bytes for each in reports]
    assert done == sorted(done)


def test_a_store_that_cannot_be_made(
    served: Served, tmp_path: Path, runnable: MakeRunnable
) -> None:
    (tmp_path / "file").write_bytes(b"")
    for root, error in ((tmp_path / "file", InvalidArgument), (tmp_path / "file/x", Unavailable)):
        with pytest.raises(error):
            pull(
                parse_reference(served.reference),
                ImageStore(root),
                RegistryAccess(),
                make_runnable=runnable,
            )
