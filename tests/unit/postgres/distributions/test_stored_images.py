"""The images on disk as distributions: found again, pulled when a job needs one."""

import errno
import logging
import resource
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.image_fakes import store_image

from sqlrs_engine.errors import (
    Cancelled,
    ImageUnavailable,
    InvalidArgument,
    RegistryUnauthorized,
    RegistryUnavailable,
    Unavailable,
)
from sqlrs_engine.postgres.distributions.known_images import KnownImages
from sqlrs_engine.postgres.distributions.stored_images import Policy, StoredImages
from sqlrs_engine.postgres.images.image_store import ImageStore, StoredImage
from sqlrs_engine.postgres.images.progress import OnProgress, Progress
from sqlrs_engine.postgres.images.references import Reference, parse_reference
from sqlrs_engine.postgres.images.registry_hosts import RegistrySettings
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.processes.cancellation import Cancellation

POSTGIS = "postgis/postgis:17-3.5"


class Settings:
    """The settings of pulls, which tests change."""

    def __init__(self) -> None:
        self.pull: Policy = "missing"
        self.hosts: Mapping[str, RegistrySettings] = {}

    def policy(self) -> Policy:
        return self.pull

    def registries(self) -> Mapping[str, RegistrySettings]:
        return self.hosts


class World:
    """A store, and a registry that has every image."""

    def __init__(self, root: Path) -> None:
        self.store = ImageStore(root)
        self.settings = Settings()
        self.fail: Exception | None = None
        self.content = "first"
        self.pulls: list[str] = []
        self.registries: Mapping[str, RegistrySettings] = {}
        self.logs: list[str] = []
        self.cancellation = Cancellation()
        self.images = self.opened()

    def opened(self) -> StoredImages:
        """Return the images as another engine finds them."""
        known = KnownImages(self.store.root.with_name("images.json"))
        return StoredImages(self.store, self, self.settings, known)

    def pull(
        self,
        reference: Reference,
        registries: Mapping[str, RegistrySettings],
        on_progress: OnProgress,
        cancellation: Cancellation,
    ) -> StoredImage:
        self.pulls.append(reference.familiar)
        self.registries = registries
        on_progress(Progress(phase="downloading", done_bytes=1 << 20, total_bytes=2 << 20))
        cancellation.check()
        if self.fail is not None:
            raise self.fail
        return store_image(self.store, reference.familiar, content=self.content)

    def load(
        self,
        file: Path,
        name: Reference | None,
        on_progress: OnProgress,
        cancellation: Cancellation,
    ) -> list[StoredImage]:
        return [store_image(self.store, name) for name in file.read_text().split()]

    @property
    def work(self) -> JobContext:
        return JobContext(self.cancellation, self.logs.append)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "images")


def test_an_image_is_pulled_once_and_the_job_hears_of_it(world: World) -> None:
    found = world.images.resolve(POSTGIS, world.work)
    assert (found.version, found.major, found.origin) == ("17.2", 17, "image")
    assert found.extensions == ("plpgsql", "postgis")
    assert (found.bin_dir / "postgres").is_file()
    assert world.images.resolve(POSTGIS, world.work) == found
    assert world.images.resolve(POSTGIS, None) == found
    assert world.pulls == [POSTGIS]
    first, last = world.logs
    assert first == f"pulling {POSTGIS}: 1.0 of 2.0 MiB"
    assert last.startswith(f"pulled {POSTGIS}: 11.8 MiB unpacked, sha256:")


def test_a_pulled_image_is_found_by_every_spelling_and_by_its_digest(world: World) -> None:
    found = world.images.resolve(POSTGIS, world.work)
    (image,) = world.images.available()
    assert image.references == (POSTGIS,)
    for name in (f"docker.io/{POSTGIS}", f"index.docker.io/{POSTGIS}", f"other@{image.digest}"):
        assert world.images.resolve(name, None) == found
    assert world.pulls == [POSTGIS]


def test_a_digest_counts_as_a_name_only_without_a_tag(world: World) -> None:
    image = store_image(world.store, POSTGIS)
    by_digest = parse_reference(f"postgis/postgis@{image.digest}")
    world.store.remember(by_digest, image.digest)
    assert [each.references for each in world.images.available()] == [(POSTGIS,)]
    world.store.forget(parse_reference(POSTGIS))
    assert [each.references for each in world.images.available()] == [(by_digest.familiar,)]


def test_images_are_found_after_a_restart_without_a_pull(world: World) -> None:
    found = world.images.resolve(POSTGIS, world.work)
    again = world.opened()
    assert [each.distribution for each in again.available()] == [found]
    assert again.resolve(POSTGIS, None) == found


def test_an_image_that_another_process_pulls_or_removes_is_seen_at_once(world: World) -> None:
    assert world.images.available() == []
    image = store_image(world.store, POSTGIS)
    assert [each.digest for each in world.images.available()] == [image.digest]
    world.images.resolve(POSTGIS, None)
    world.store.remove(image.digest)
    assert world.images.available() == []
    with pytest.raises(ImageUnavailable):
        world.images.resolve(POSTGIS, None)


def test_an_image_whose_files_are_gone_is_not_offered(world: World) -> None:
    image = store_image(world.store, POSTGIS)
    world.images.resolve(POSTGIS, None)
    shutil.rmtree(image.rootfs)
    assert world.images.available() == []


def test_an_image_that_is_read_again_and_again_is_read_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = world.images.resolve(POSTGIS, world.work)
    world.images.resolve(POSTGIS, world.work)
    monkeypatch.setattr(Path, "read_bytes", None)
    assert world.images.resolve(POSTGIS, world.work) == found
    assert len(world.images.available()) == 1


def test_without_work_nothing_is_pulled(world: World) -> None:
    with pytest.raises(ImageUnavailable, match=f"to pull it alone: .* postgres pull {POSTGIS}"):
        world.images.resolve(POSTGIS, None)
    assert world.pulls == []


def test_never_means_never(world: World) -> None:
    world.settings.pull = "never"
    with pytest.raises(ImageUnavailable, match=r"images\.pull is never; to pull it: sqlrs-engine"):
        world.images.resolve(POSTGIS, world.work)
    assert world.pulls == []
    store_image(world.store, POSTGIS)
    assert world.images.resolve(POSTGIS, world.work).version == "17.2"


def test_always_looks_the_tag_up_each_time(world: World) -> None:
    world.settings.pull = "always"
    first = world.images.resolve(POSTGIS, world.work)
    assert world.images.resolve(POSTGIS, world.work) == first
    assert world.logs[-1].startswith(f"{POSTGIS} has not changed: sha256:")
    world.content = "second"
    second = world.images.resolve(POSTGIS, world.work)
    assert second != first
    assert world.pulls == [POSTGIS] * 3
    assert world.images.resolve(POSTGIS, None) == second
    assert [each.references for each in world.images.available()].count(()) == 1


def test_always_does_not_look_up_what_a_digest_names(world: World) -> None:
    image = store_image(world.store, POSTGIS)
    world.settings.pull = "always"
    world.images.resolve(f"{POSTGIS}@{image.digest}", world.work)
    assert world.pulls == []


def test_what_is_here_serves_when_the_registry_does_not_answer(world: World) -> None:
    store_image(world.store, POSTGIS)
    world.settings.pull = "always"
    world.fail = RegistryUnavailable("docker.io does not answer", "connection refused")
    assert world.images.resolve(POSTGIS, world.work).version == "17.2"
    assert world.logs[-1] == (
        f"using {POSTGIS} as it was pulled before: docker.io does not answer: connection refused"
    )
    world.fail = RegistryUnauthorized("docker.io refuses it")
    with pytest.raises(RegistryUnauthorized):
        world.images.resolve(POSTGIS, world.work)


def test_the_failure_of_a_pull_is_the_failure_of_the_job(world: World) -> None:
    world.fail = RegistryUnavailable("docker.io does not answer")
    with pytest.raises(RegistryUnavailable):
        world.images.resolve(POSTGIS, world.work)


def test_a_pull_can_be_cancelled(world: World) -> None:
    world.cancellation.cancel()
    with pytest.raises(Cancelled):
        world.images.resolve(POSTGIS, world.work)


def test_a_pull_knows_the_registries_of_the_configuration(world: World) -> None:
    world.settings.hosts = {"docker.io": RegistrySettings(mirrors=("m",))}
    world.images.resolve(POSTGIS, world.work)
    assert world.registries == world.settings.hosts


@pytest.mark.parametrize("pulled", ["before", "now"])
def test_an_image_that_was_removed_is_remembered(world: World, pulled: str) -> None:
    if pulled == "before":
        store_image(world.store, POSTGIS)
    found = world.images.resolve(POSTGIS, world.work)
    (image,) = world.images.available()
    world.store.remove(image.digest)
    advice = world.opened().advice(found.image_id) or ""
    assert advice.endswith(f"sqlrs-engine postgres pull {POSTGIS}@{image.digest}")


def test_an_image_of_a_file_is_brought_back_from_there(world: World) -> None:
    image = store_image(world.store, POSTGIS, origin="my image.tar")
    found = world.images.resolve(POSTGIS, world.work)
    world.store.remove(image.digest)
    advice = world.images.advice(found.image_id) or ""
    assert advice.endswith("sqlrs-engine postgres load 'my image.tar'")
    assert world.images.advice("postgres@sha256:" + "0" * 64) is None


def test_a_loaded_image_is_found_at_once(world: World, tmp_path: Path) -> None:
    (tmp_path / "saved").write_text(f"{POSTGIS} postgres:17")
    assert world.images.available() == []
    loaded = world.images.load(tmp_path / "saved", None, lambda progress: None, world.cancellation)
    assert len(loaded) == len(world.images.available()) == 2
    assert world.images.resolve(POSTGIS, None).version == "17.2"


def test_text_that_is_no_reference_is_an_invalid_argument(world: World) -> None:
    with pytest.raises(InvalidArgument):
        world.images.resolve("https://example.com/x", world.work)


def test_images_that_others_can_change_are_not_run(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    store_image(world.store, POSTGIS)
    world.store.root.chmod(0o777)
    with caplog.at_level(logging.WARNING):
        assert world.images.available() == []
        world.store.root.touch()
        assert world.images.available() == []
        with pytest.raises(ImageUnavailable):
            world.images.resolve(POSTGIS, None)
    assert len(caplog.records) == 1


def test_images_that_cannot_be_read_are_not_there(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_image(world.store, POSTGIS)

    def refused() -> list[StoredImage]:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "images", refused)  # as for another user than root
        assert world.images.available() == []
        with pytest.raises(ImageUnavailable):
            world.images.resolve(POSTGIS, None)
    assert len(caplog.records) == 1
    assert len(world.images.available()) == 1


def test_a_process_without_descriptors_forgets_no_image(world: World) -> None:
    store_image(world.store, POSTGIS)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises((Unavailable, OSError)):
            world.images.available()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(world.images.available()) == 1


def test_many_threads_find_the_same(world: World) -> None:
    found = []

    def resolve(image: str) -> Callable[[], None]:
        return lambda: found.append(world.images.resolve(image, world.work))

    store_image(world.store, POSTGIS)
    threads = [threading.Thread(target=resolve(POSTGIS)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
