"""A double of a registry, and small images for it."""

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest
from support.images import Compression, Image, Layer, LayerWriter, settings
from support.registry_double import RegistryDouble, registry_double

from sqlrs_engine.postgres.images.assembly import MakeRunnable
from sqlrs_engine.postgres.images.image_store import ImageStore
from sqlrs_engine.postgres.images.manifests import ImageConfig
from sqlrs_engine.postgres.images.programs import ImagePrograms

Fill = Callable[[LayerWriter], None]
MakeLayer = Callable[..., Layer]
MakeImage = Callable[..., Image]


@pytest.fixture
def double() -> Iterator[RegistryDouble]:
    with registry_double() as running:
        yield running


@pytest.fixture
def second_double() -> Iterator[RegistryDouble]:
    with registry_double() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


@pytest.fixture
def make_layer(tmp_path: Path) -> MakeLayer:
    """Make a layer of files (bytes), symbolic links (text) and directories (None)."""
    count = iter(range(1000))

    def make(
        files: dict[str, bytes | str | None] | None = None,
        fill: Fill | None = None,
        compression: Compression = "gzip",
    ) -> Layer:
        with LayerWriter(tmp_path / f"layer-{next(count)}", compression) as tree:
            for name, content in (files or {}).items():
                if content is None:
                    tree.directory(name)
                elif isinstance(content, str):
                    tree.symlink(name, content)
                else:
                    tree.file(name, content)
            if fill is not None:
                fill(tree)
        return tree.layer

    return make


@pytest.fixture
def make_image(make_layer: MakeLayer) -> MakeImage:
    """Make an image of layers, by default of a small one."""

    def make(*layers: Layer, **fields: object) -> Image:
        chosen = layers or (make_layer({"usr/bin/postgres": b"#!/bin/sh\n"}),)
        return Image(chosen, settings("PATH=/usr/bin"), **fields)  # type: ignore[arg-type]

    return make


@pytest.fixture
def runnable() -> MakeRunnable:
    """Take any root file system."""

    def make_runnable(rootfs: Path, config: ImageConfig) -> ImagePrograms:
        assert rootfs.is_dir()
        return ImagePrograms(
            bin_dir=PurePosixPath("usr/bin"),
            banner="postgres (PostgreSQL) 17.2",
            version="17.2",
            major=17,
        )

    return make_runnable
