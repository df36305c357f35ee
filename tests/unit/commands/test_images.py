"""The commands for images of registries, over a real store without a registry."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.image_fakes import store_image

from sqlrs_engine import cli
from sqlrs_engine.commands import BLOCKED, FAILURE, SUCCESS, USAGE
from sqlrs_engine.postgres.distributions.distribution import image_id_of
from sqlrs_engine.postgres.images.image_store import ImageStore, StoredImage
from sqlrs_engine.postgres.images.references import parse_reference
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.statefs.layout import Layout

POSTGIS = "postgis/postgis:17-3.5"
STATE_ID = "ab" * 32

Run = Callable[..., int]


@pytest.fixture
def images(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run an action of ``postgres`` in a home without anything."""
    environ = {
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "SQLRS_IMAGE_STORE": str(tmp_path / "images"),
        "PATH": "",
    }

    def act(*words: str) -> int:
        return cli.main(["postgres", *words, "--state-dir", str(tmp_path / "state")], environ)

    return act


def use(tmp_path: Path, image: StoredImage) -> None:
    """Make a state of an image, as far as files go."""
    Layout(tmp_path / "state" / "store").state_dir(image_id_of(image.digest), STATE_ID).mkdir(
        parents=True
    )


def tags(images: ImageStore) -> list[str]:
    return [name for image in images.images() for name in image.references]


def test_pulled_images_are_listed_with_what_people_want_to_know(
    run: Run, images: ImageStore, capsys: pytest.CaptureFixture[str]
) -> None:
    image = store_image(images, POSTGIS, "99.9")
    assert run("list") == SUCCESS
    headings, first, *_ = capsys.readouterr().out.splitlines()
    assert headings.split() == ["IMAGE", "VERSION", "ORIGIN", "SIZE", "DIGEST", "EXTENSIONS"]
    assert first.split() == [POSTGIS, "99.9", "image", "11.8", "MiB", image.digest[:19], "2"]


def test_extensions_are_listed_by_name(
    run: Run, images: ImageStore, capsys: pytest.CaptureFixture[str]
) -> None:
    store_image(images, POSTGIS, "99.9")
    assert run("list", "--extensions") == SUCCESS
    assert capsys.readouterr().out.splitlines()[1].endswith("plpgsql, postgis")


def test_the_list_for_programs_has_everything(
    run: Run, images: ImageStore, capsys: pytest.CaptureFixture[str]
) -> None:
    image = store_image(images, POSTGIS, "99.9")
    assert run("list", "--json") == SUCCESS
    assert json.loads(capsys.readouterr().out)[0] == {
        "image_id": image_id_of(image.digest),
        "references": [POSTGIS],
        "digest": image.digest,
        "version": "99.9",
        "major": 99,
        "origin": "image",
        "extensions": ["plpgsql", "postgis"],
        "size_bytes": image.size_bytes,
        "bin_dir": str(image.bin_dir),
    }


@pytest.mark.parametrize("by", ["reference", "full reference", "digest", "digits", "image id"])
def test_an_image_is_removed_by_whatever_names_it(
    run: Run, images: ImageStore, by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    image = store_image(images, POSTGIS)
    other = store_image(images, "postgres:17")
    text = {
        "reference": POSTGIS,
        "full reference": f"docker.io/{POSTGIS}",
        "digest": image.digest,
        "digits": image.digest.removeprefix("sha256:")[:12],
        "image id": image_id_of(image.digest),
    }[by]
    assert run("rm", text) == SUCCESS
    assert capsys.readouterr().out.startswith(f"{text}: removed")
    assert images.images() == [other]


def test_an_image_that_states_need_is_kept_unless_forced(
    run: Run, images: ImageStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use(tmp_path, store_image(images, POSTGIS))
    assert run("rm", POSTGIS) == BLOCKED
    complaint = capsys.readouterr().err
    assert f"1 state of {tmp_path / 'state' / 'store'} need" in complaint
    assert "--force" in complaint
    assert tags(images) == [POSTGIS]
    assert run("rm", POSTGIS, "--force") == SUCCESS
    assert tags(images) == []


def test_a_tag_among_several_is_only_taken_off(
    run: Run, images: ImageStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = store_image(images, POSTGIS)
    images.remember(parse_reference("postgis/postgis:17"), image.digest)
    use(tmp_path, image)
    assert run("rm", POSTGIS) == SUCCESS
    assert "has other tags" in capsys.readouterr().out
    assert tags(images) == ["postgis/postgis:17"]
    assert run("rm", "postgis/postgis:17") == BLOCKED


def test_two_names_of_one_image_remove_it(run: Run, images: ImageStore) -> None:
    image = store_image(images, POSTGIS)
    images.remember(parse_reference("postgis/postgis:17"), image.digest)
    assert run("rm", POSTGIS, "postgis/postgis:17", image.digest) == SUCCESS
    assert images.images() == []


def test_a_mistyped_image_removes_nothing(
    run: Run, images: ImageStore, capsys: pytest.CaptureFixture[str]
) -> None:
    store_image(images, POSTGIS)
    assert run("rm", POSTGIS, "postgis/postgis:71") == FAILURE
    assert "no such image: postgis/postgis:71: see sqlrs-engine" in capsys.readouterr().err
    assert tags(images) == [POSTGIS]


def test_what_is_no_image_is_a_usage_error(run: Run) -> None:
    assert run("rm", "https://example.com") == USAGE
    assert run("pull", "https://example.com") == USAGE


def test_digits_of_two_images_are_ambiguous(
    run: Run, images: ImageStore, capsys: pytest.CaptureFixture[str]
) -> None:
    store_image(images, POSTGIS)
    assert run("rm", "sha256:") == FAILURE
    assert "no such image" in capsys.readouterr().err


def test_collection_removes_what_no_image_uses(
    run: Run, images: ImageStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = store_image(images, POSTGIS)
    layer = images.layout.layer("sha256:" + "1" * 64)
    layer.mkdir()
    (layer / "entries.json").write_bytes(b"[]" + b" " * 100_000)
    images.layout.download("sha256:" + "2" * 64).write_bytes(b"x" * 100_000)
    assert run("gc") == SUCCESS
    out = capsys.readouterr().out
    assert out.startswith("removed 1 layer and 1 incomplete download: ")
    assert not layer.exists()
    assert images.images() == [kept]


def test_only_unused_images_are_collected_and_only_when_asked(
    run: Run, images: ImageStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    used = store_image(images, POSTGIS)
    store_image(images, "postgres:17")
    use(tmp_path, used)
    assert run("gc") == SUCCESS
    assert len(images.images()) == 2
    assert run("gc", "--unused") == SUCCESS
    assert images.images() == [used]
    assert "postgres:17: removed" in capsys.readouterr().out


def test_nothing_is_collected_during_a_pull(
    run: Run, images: ImageStore, capsys: pytest.CaptureFixture[str]
) -> None:
    with images.pulling(Cancellation()):
        assert run("gc") == FAILURE
    assert "a pull is under way" in capsys.readouterr().err


def test_a_store_that_does_not_exist_is_empty(
    run: Run, images: ImageStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("gc", "--unused") == SUCCESS
    assert run("rm", POSTGIS) == FAILURE
    assert not images.root.exists()


def test_doctor_names_pulled_images(
    images: ImageStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_image(images, POSTGIS, "99.9")
    environ = {"HOME": str(tmp_path), "SQLRS_IMAGE_STORE": str(images.root), "PATH": ""}
    cli.main(["doctor", "--state-dir", str(tmp_path / "state")], environ)
    assert f"99.9 (image {POSTGIS})" in capsys.readouterr().out
