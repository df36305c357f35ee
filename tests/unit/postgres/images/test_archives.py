"""Images from files: OCI layouts, what docker save writes, and what is neither."""

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.images import Image, Index, Layer, pack_layout, write_docker_archive, write_layout

from sqlrs_engine.errors import ImageCorrupt, ImageUnavailable, InvalidArgument
from sqlrs_engine.postgres.images.archives import load
from sqlrs_engine.postgres.images.assembly import MakeRunnable
from sqlrs_engine.postgres.images.image_store import ImageStore, StoredImage
from sqlrs_engine.postgres.images.platforms import Platform
from sqlrs_engine.postgres.images.references import parse_reference

AMD64 = Platform(os="linux", architecture="amd64")

MakeLayer = Callable[..., Layer]
MakeImage = Callable[..., Image]
Load = Callable[..., list[StoredImage]]


@pytest.fixture
def load_it(store: ImageStore, runnable: MakeRunnable) -> Load:
    def load_it(file: Path, name: str | None = None) -> list[StoredImage]:
        reference = parse_reference(name) if name else None
        return load(file, store, make_runnable=runnable, name=reference, platform=AMD64)

    return load_it


@pytest.fixture
def image(make_image: MakeImage, make_layer: MakeLayer) -> Image:
    layers = [make_layer({"a": b"1", "b": b"1"}), make_layer({"b": b"2"}, compression="plain")]
    return make_image(*layers)


@pytest.fixture
def plain(make_image: MakeImage, make_layer: MakeLayer) -> Image:
    return make_image(*[make_layer({"a": name}, compression="plain") for name in (b"1", b"2")])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("listed", [False, True])
def test_an_oci_layout(
    load_it: Load, tmp_path: Path, image: Image, make_image: MakeImage, packed: bool, listed: bool
) -> None:
    content = Index((make_image(architecture="s390x"), image)) if listed else image
    layout = write_layout(tmp_path / "layout", content, "docker.io/org/pg:1")
    file = pack_layout(tmp_path / "layout.tar", layout) if packed else layout
    (loaded,) = load_it(file)
    assert loaded.digest == image.digest
    assert loaded.references == ("org/pg:1",)
    assert loaded.origin == file.name
    assert (loaded.rootfs / "b").read_bytes() == b"2"


def test_a_layout_may_have_a_tag_alone_or_no_name(
    load_it: Load, tmp_path: Path, image: Image
) -> None:
    (loaded,) = load_it(write_layout(tmp_path / "tag", image, "15-3"))
    assert loaded.references == ()
    (loaded,) = load_it(write_layout(tmp_path / "none", image), "me/pg:17")
    assert loaded.references == ("me/pg:17",)


def test_what_docker_save_writes(load_it: Load, tmp_path: Path, plain: Image) -> None:
    archive = write_docker_archive(tmp_path / "saved.tar", plain, "postgres:17", "me/pg:latest")
    (loaded,) = load_it(archive)
    assert loaded.digest == plain.config.digest
    assert loaded.references == ("postgres:17", "me/pg:latest")
    assert (loaded.rootfs / "a").read_bytes() == b"2"


def test_an_archive_that_is_both_is_read_as_a_layout(
    load_it: Load, tmp_path: Path, plain: Image
) -> None:
    layout = write_layout(tmp_path / "layout", plain, "postgres:17")
    (layout / "manifest.json").write_text("[]")
    (loaded,) = load_it(pack_layout(tmp_path / "both.tar", layout))
    assert loaded.digest == plain.digest


def test_links_to_equal_layers(load_it: Load, tmp_path: Path, plain: Image) -> None:
    archive = write_docker_archive(tmp_path / "saved.tar", plain, "postgres:17")
    linked = tmp_path / "linked.tar"
    with tarfile.open(archive) as source, tarfile.open(linked, "w") as target:
        for member in source:
            content = source.extractfile(member)
            assert content is not None
            if not member.name.endswith("/layer.tar"):
                target.addfile(member, content)
                continue
            link = tarfile.TarInfo(member.name)
            link.type, link.linkname = tarfile.SYMTYPE, f"../there/{member.name.split('/')[0]}"
            target.addfile(link)
            member.name = f"there/{member.name.split('/')[0]}"
            target.addfile(member, content)
    (loaded,) = load_it(linked)
    assert (loaded.rootfs / "a").read_bytes() == b"2"


def test_a_compressed_archive(
    load_it: Load, tmp_path: Path, plain: Image, store: ImageStore
) -> None:
    archive = write_docker_archive(tmp_path / "saved.tar", plain, "postgres:17")
    compressed = tmp_path / "saved.tar.gz"
    compressed.write_bytes(gzip.compress(archive.read_bytes()))
    (loaded,) = load_it(compressed)
    assert loaded.digest == plain.config.digest
    assert [*store.layout.temporary.iterdir()] == []


def test_several_images(load_it: Load, tmp_path: Path, make_image: MakeImage, plain: Image) -> None:
    layout = write_layout(tmp_path / "layout", plain, "me/one:1")
    one = json.loads((layout / "index.json").read_text())["manifests"]
    write_layout(layout, make_image(), "me/two:1")
    both = json.loads((layout / "index.json").read_text())
    both["manifests"] += one
    (layout / "index.json").write_text(json.dumps(both))
    assert [each.references for each in load_it(layout)] == [("me/one:1",), ("me/two:1",)]
    with pytest.raises(InvalidArgument, match="holds 2 images, which cannot have one name"):
        load_it(layout, "me/pg:1")


def test_an_image_that_is_here_is_not_unpacked_again(
    load_it: Load, tmp_path: Path, image: Image
) -> None:
    layout = write_layout(tmp_path / "layout", image)
    (first,) = load_it(layout)
    inode = first.rootfs.stat().st_ino
    (second,) = load_it(layout, "me/pg:1")
    assert second.rootfs.stat().st_ino == inode
    assert second.references == ("me/pg:1",)


def test_an_image_of_another_platform(
    load_it: Load, tmp_path: Path, make_image: MakeImage, make_layer: MakeLayer
) -> None:
    other = make_image(make_layer({}, compression="plain"), architecture="s390x")
    for file in (
        write_layout(tmp_path / "layout", other),
        write_layout(tmp_path / "index", Index((other,))),
        write_docker_archive(tmp_path / "saved.tar", other),
    ):
        with pytest.raises(ImageUnavailable, match="is not for linux/amd64"):
            load_it(file)


@pytest.mark.parametrize("what", ["a layer", "the manifest", "the configuration"])
@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_layout_is_refused_and_nothing_is_kept(
    load_it: Load, tmp_path: Path, image: Image, store: ImageStore, what: str, damage: str
) -> None:
    layout = write_layout(tmp_path / "layout", image)
    blob = {"a layer": image.layers[1], "the manifest": image.manifest}.get(what, image.config)
    file = layout / "blobs/sha256" / blob.digest.removeprefix("sha256:")
    if damage == "missing":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    with pytest.raises(ImageCorrupt):
        load_it(layout)
    assert store.images() == []
    assert [*store.layout.temporary.iterdir(), *store.layout.references.iterdir()] == []


def archive_of(**files: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", InvalidArgument, "not an archive of images|holds no image"),
        (b"hello" * 1000, InvalidArgument, "not an archive of images"),
        (gzip.compress(b"hello", mtime=0), InvalidArgument, "not an archive of images"),
        (archive_of(a=b"x"), InvalidArgument, "holds no image"),
        (archive_of(**{"manifest.json": b"[]"}), InvalidArgument, "holds no image"),
        (archive_of(**{"manifest.json": b"x"}), ImageCorrupt, "manifest is unreadable"),
        (archive_of(**{"manifest.json": b"[1]"}), ImageCorrupt, "manifest is unreadable"),
        (
            archive_of(**{"manifest.json": b'[{"Config": "c", "Layers": []}]'}),
            ImageCorrupt,
            "archive is unreadable",
        ),
        (
            archive_of(**{"oci-layout": b"{}", "index.json": b"{}"}),
            ImageCorrupt,
            "index is unreadable",
        ),
    ],
    ids=range(9),
)
def test_other_files(
    load_it: Load, tmp_path: Path, content: bytes, error: type[Exception], message: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(error, match=message):
        load_it(file)


def test_what_is_no_file(load_it: Load, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="cannot be read"):
        load_it(tmp_path / "missing")
    with pytest.raises(InvalidArgument, match="holds no image"):
        load_it(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidArgument, match="from a file or a directory"):
        load_it(tmp_path / "pipe")
