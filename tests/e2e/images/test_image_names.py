"""Images from files that name them or do not."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fix_images import PushedImage
from support.image_engines import value
from support.images import Image, write_layout
from support.shell import Shell

pytestmark = pytest.mark.postgres


@pytest.fixture
def shell(tmp_path: Path, image_store: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path, SQLRS_IMAGE_STORE=str(image_store))
    yield shell
    shell.close()


def test_an_image_without_a_name_is_prepared_with_by_its_id_until_it_gets_one(
    shell: Shell, small_postgres: PushedImage, tmp_path: Path
) -> None:
    assert isinstance(small_postgres.image, Image)
    layout = str(write_layout(tmp_path / "layout", small_postgres.image))
    advice = shell.out("postgres", "load", layout).splitlines()[-1]
    assert advice.startswith("prepare with --image postgres@sha256:")
    image_id = advice.split()[3].rstrip(",")
    dsn = shell.out("prepare", "--image", image_id, "--", "-c", "select 1").strip()
    assert value(dsn, "select 1") == 1

    assert "mine/postgres:1" in shell.out("postgres", "load", "--name", "mine/postgres:1", layout)
    listed = json.loads(shell.out("postgres", "list", "--json"))
    (image,) = [each for each in listed if each["origin"] == "image"]
    assert (image["image_id"], image["references"]) == (image_id, ["mine/postgres:1"])
    # The programs of the image connect, like any others.
    prepared = ("prepare", "--image", "mine/postgres:1", "--name", "mine", "--", "-c", "select 1")
    shell.out(*prepared)
    printed = shell.out("exec", "mine", "--", f"{image['bin_dir']}/psql", "-Atc", "select 40 + 2")
    assert printed == "42\n"
