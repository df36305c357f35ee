"""The list of images: what names each, and how large it is."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.image_fakes import FakeImages

from sqlrs_engine.postgres.distributions.catalog import Distributions
from sqlrs_engine.postgres.distributions.listing import ImageList

FakePrograms = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path, fake_programs: FakePrograms) -> Callable[[str], Path]:
    return lambda version: fake_programs(tmp_path / "builds" / version / "bin", version)


@pytest.fixture
def images(tmp_path: Path) -> FakeImages:
    return FakeImages()


@pytest.fixture
def listing(tmp_path: Path, images: FakeImages) -> ImageList:
    return ImageList(
        Distributions(
            tmp_path / "builds", system_root=tmp_path / "no", package="no_such_pkg", images=images
        )
    )


def test_each_tag_names_the_distribution_to_which_it_resolves(build, listing) -> None:
    for version in ("17.1", "17.2", "18.1"):
        build(version)

    assert [each.references for each in listing.list()] == [
        ("postgres:18.1", "postgres:18", "postgres"),
        ("postgres:17.2", "postgres:17"),
        ("postgres:17.1",),
    ]


def test_a_pulled_image_has_its_own_names_and_takes_no_tag_from_others(
    build, images, listing
) -> None:
    build("17.1")
    pulled = images.add("postgis/postgis:17-3.5", "17.9", size_bytes=12345)

    first, second = listing.list()

    assert (first.image_id, first.references) == (
        pulled.distribution.image_id,
        ("postgis/postgis:17-3.5",),
    )
    assert (first.digest, first.size_bytes, first.origin) == (pulled.digest, 12345, "image")
    assert second.references == ("postgres:17.1", "postgres:17", "postgres")
    assert (second.digest, second.origin) == (None, "installed")


def test_the_size_counts_each_file_once_and_is_measured_once(build, listing) -> None:
    bin_dir = build("17.1")
    library = bin_dir.parent / "lib" / "libpq.so.5"
    library.parent.mkdir()
    library.write_bytes(b"x" * 1000)
    os.link(library, library.with_name("libpq.so"))
    (library.parent / "dangling").symlink_to("nowhere")
    files = [*bin_dir.iterdir(), library, library.parent / "dangling"]
    expected = sum(file.lstat().st_size for file in files)

    assert [each.size_bytes for each in listing.list()] == [expected]
    (library.parent / "more").write_bytes(b"x" * 1000)
    assert [each.size_bytes for each in listing.list()] == [expected]


def test_programs_among_those_of_the_system_have_no_size(tmp_path, fake_programs) -> None:
    fake_programs(tmp_path / "usr/bin", "17.1")
    found = Distributions(
        tmp_path / "no",
        search=[tmp_path / "usr/bin"],
        system_root=tmp_path / "no",
        package="no_such_pkg",
    )

    assert [each.size_bytes for each in ImageList(found, shared=[tmp_path / "usr"]).list()] == [
        None
    ]
