"""Prepares on images of a registry: the engine as a process pulls them and runs them."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fault_proxy import BLOB, FaultyRegistry
from support.fix_engine import EngineFactory, EngineProcess
from support.fix_images import PushedImage, PushImage
from support.image_engines import (
    configure,
    docker_login,
    failure,
    files_in,
    images,
    kept_bytes,
    value,
)
from support.images import Image, LayerWriter, digest_of, settings
from support.postgres_images import ARCHITECTURE
from support.registry import PASSWORD, Registry
from support.waiting import eventually

from sqlrs_engine.postgres.distributions.distribution import Distribution

pytestmark = pytest.mark.postgres

ONE = ("-c", "create table t ()")


def big_layer(pushed: PushedImage) -> str:
    """Return the digest of the layer with PostgreSQL."""
    assert isinstance(pushed.image, Image)
    return pushed.image.layers[1].digest


def test_an_image_is_pulled_and_serves_by_all_its_names(
    pulling_engine: EngineProcess, small_postgres: PushedImage, proxy: FaultyRegistry
) -> None:
    name = small_postgres.through(proxy)
    job = pulling_engine.submit(*ONE, image=name)
    events = pulling_engine.events(job)
    result = pulling_engine.call("GET", f"/v1/prepare-jobs/{job}").json()["result"]
    assert value(result["dsn"], "select count(*) from t") == 0
    lines = [each["message"] for each in events if each["type"] == "log"]
    assert any(name in line for line in lines), lines
    assert any("MiB" in line for line in lines), lines

    (image,) = images(pulling_engine)
    assert image["digest"] == small_postgres.image.digest
    assert name in image["references"]
    assert image["image_id"] == result["image_id"]
    assert image["version"] == value(result["dsn"], "show server_version")
    assert "plpgsql" in image["extensions"]
    assert image["size_bytes"] > 10_000_000
    assert Path(image["bin_dir"], "postgres").exists()

    asked = len(proxy.requests)
    by_digest = f"{proxy.host}/{small_postgres.repository}@{image['digest']}"
    for other in (name, by_digest, image["image_id"]):
        again = pulling_engine.prepare(*ONE, image=other)
        assert again["state_id"] == result["state_id"]
    assert len(proxy.requests) == asked


@pytest.mark.parametrize("format", ["-Fc", "-Fd", "-Fp"])
def test_a_dump_is_restored_on_an_image(
    pulling_engine: EngineProcess,
    small_postgres: PushedImage,
    wheel_postgres: Distribution,
    tmp_path: Path,
    format: str,
) -> None:
    made = pulling_engine.prepare("-c", "create table t as select generate_series(1, 10) n")
    path = tmp_path / "dump"
    program = wheel_postgres.bin_dir / "pg_dump"
    subprocess.run([program, format, "-f", path, made["dsn"]], check=True)
    body = {
        "prepare_kind": "chain",
        "image_id": small_postgres.reference,
        "stages": [{"kind": "dump", "path": str(path)}],
    }
    job_id = pulling_engine.call("POST", "/v1/prepare-jobs", json=body).json()["job_id"]
    events = pulling_engine.events(job_id)
    assert events[-1]["type"] == "result", events
    assert value(events[-1]["result"]["dsn"], "select sum(n) from t") == 55


def test_all_jobs_share_one_pull(
    pulling_engine: EngineProcess, small_postgres: PushedImage, proxy: FaultyRegistry
) -> None:
    hold = proxy.add(big_layer(small_postgres), hold_after=100_000)
    name = small_postgres.through(proxy)
    jobs = [pulling_engine.submit("-c", f"select {n}", image=name) for n in range(3)]
    eventually(hold.held.is_set, "a pull that stands still")
    hold.release.set()
    for job in jobs:
        pulling_engine.events(job)
        now = pulling_engine.call("GET", f"/v1/prepare-jobs/{job}").json()
        assert now["status"] == "succeeded", now
    assert len(proxy.gets(big_layer(small_postgres))) == 1


def test_a_job_goes_on_with_its_pull_after_a_crash(
    own_pulling_engine: EngineProcess,
    image_store: Path,
    small_postgres: PushedImage,
    proxy: FaultyRegistry,
) -> None:
    big = big_layer(small_postgres)
    hold = proxy.add(big, hold_after=20_000_000)
    job = own_pulling_engine.submit(*ONE, image=small_postgres.through(proxy))
    eventually(hold.held.is_set, "a pull that stands still")
    eventually(lambda: kept_bytes(image_store) > 15_000_000, "a kept part of the layer")
    own_pulling_engine.process.kill()
    own_pulling_engine.process.wait()
    proxy.clear()
    own_pulling_engine.start()
    own_pulling_engine.events(job)
    now = own_pulling_engine.call("GET", f"/v1/prepare-jobs/{job}").json()
    assert now["status"] == "succeeded", now
    assert len(images(own_pulling_engine)) == 1
    (rest,) = proxy.gets(big)
    assert rest.range is not None
    assert rest.sent < 20_000_000


def test_a_cancelled_job_ends_its_pull(
    pulling_engine: EngineProcess,
    pulling_engine_store: Path,
    small_postgres: PushedImage,
    proxy: FaultyRegistry,
) -> None:
    hold = proxy.add(BLOB, times=None, hold_after=100_000)
    job = pulling_engine.submit(*ONE, image=small_postgres.through(proxy))
    eventually(hold.held.is_set, "a pull that stands still")
    answer = pulling_engine.call("POST", f"/v1/prepare-jobs/{job}/cancel")
    assert answer.is_success, answer.text
    pulling_engine.events(job)  # it ends although the registry says nothing
    now = pulling_engine.call("GET", f"/v1/prepare-jobs/{job}").json()
    assert now["error"]["code"] == "cancelled"
    assert images(pulling_engine) == []
    assert not [*pulling_engine_store.glob("temporary/*")]


def test_an_engine_stops_in_mid_pull(
    own_pulling_engine: EngineProcess, small_postgres: PushedImage, proxy: FaultyRegistry
) -> None:
    hold = proxy.add(big_layer(small_postgres), hold_after=100_000)
    own_pulling_engine.submit(*ONE, image=small_postgres.through(proxy))
    eventually(hold.held.is_set, "a pull that stands still")
    assert own_pulling_engine.stop() == 0


def test_a_login_of_docker_counts_at_once(
    pulling_engine: EngineProcess,
    pulling_engine_store: Path,
    protected_registry: Registry,
    small_postgres: PushedImage,
) -> None:
    name = f"{protected_registry.host}/{small_postgres.repository}:{small_postgres.tag}"
    for password in (None, "not-the-password"):
        if password is not None:
            docker_login(pulling_engine.state_dir, protected_registry, password)
        error = failure(pulling_engine, name)
        assert error["code"] == "registry_unauthorized"
        assert "login" in error["message"]
    assert files_in(pulling_engine_store) == []
    docker_login(pulling_engine.state_dir, protected_registry)
    pulling_engine.prepare(*ONE, image=name)
    assert "not-the-password" not in pulling_engine.log
    assert PASSWORD not in pulling_engine.log


def test_a_mirror_of_the_configuration_serves(
    pulling_engine: EngineProcess, small_postgres: PushedImage, push_image: PushImage
) -> None:
    pushed = push_image(small_postgres.image, "1", "someone/postgres")
    mirrors = {"docker.io": {"mirrors": [pushed.registry.host]}}
    configure(pulling_engine, "images.registries", mirrors)
    pulling_engine.prepare(*ONE, image="someone/postgres:1")
    (image,) = images(pulling_engine)
    assert "someone/postgres:1" in image["references"]


def test_images_that_can_not_be_had_fail_with_stable_codes(
    pulling_engine: EngineProcess,
    pulling_engine_store: Path,
    small_postgres: PushedImage,
    push_image: PushImage,
    proxy: FaultyRegistry,
    free_port: int,
    tmp_path: Path,
) -> None:
    with LayerWriter(tmp_path / "layer", "gzip") as tree:
        tree.file("etc/os-release", b"ID=nothing\n")
    other = Image((tree.layer,), settings(), architecture=ARCHITECTURE)
    foreign = Image((tree.layer,), settings(), architecture="s390x")
    host = small_postgres.registry.host
    expected = {
        f"{host}/no/such:tag": "image_unavailable",
        f"{host}/x@{digest_of(b'x')}": "image_unavailable",
        push_image(foreign).reference: "image_unavailable",
        f"localhost:{free_port}/postgres:1": "registry_unavailable",
        "registry.invalid/postgres:1": "registry_unavailable",
        push_image(other).reference: "image_unusable",
        "not an image": "invalid_argument",
    }
    found = {name: failure(pulling_engine, name) for name in expected}
    assert {name: error["code"] for name, error in found.items()} == expected
    for name, error in found.items():
        advice = error["message"]
        assert ":" in advice or ";" in advice, (name, error)
    assert images(pulling_engine) == []
    assert not [*pulling_engine_store.glob("[0-9a-f]" * 64)]
    assert not [*pulling_engine_store.glob("temporary/*")]

    proxy.add(big_layer(small_postgres), times=None, corrupt_at=1_000_000)
    assert failure(pulling_engine, small_postgres.through(proxy))["code"] == "image_corrupt"
    assert images(pulling_engine) == []


class TestTheSettingOfPulls:
    @pytest.fixture
    def moving(
        self, small_postgres: PushedImage, push_image: PushImage, tmp_path: Path
    ) -> Iterator[PushedImage]:
        """Images under one tag, each pushed when it is asked for."""

        def images() -> Iterator[PushedImage]:
            repository = None
            for number in range(9):
                with LayerWriter(tmp_path / f"layer{number}") as tree:
                    tree.file("etc/number", str(number).encode())
                assert isinstance(small_postgres.image, Image)
                layers = (*small_postgres.image.layers, tree.layer)
                config = small_postgres.image.config_fields
                image = Image(layers, config, architecture=ARCHITECTURE)
                pushed = push_image(image, "tag", repository)
                repository = pushed.repository
                yield pushed

        return images()

    def test_missing_keeps_what_is_here(
        self, pulling_engine: EngineProcess, moving: Iterator[PushedImage]
    ) -> None:
        first = next(moving)
        pulling_engine.prepare("-c", "select 1", image=first.reference)
        next(moving)
        pulling_engine.prepare("-c", "select 2", image=first.reference)
        assert [each["digest"] for each in images(pulling_engine)] == [first.image.digest]

    def test_always_follows_the_tag(
        self, pulling_engine: EngineProcess, moving: Iterator[PushedImage], proxy: FaultyRegistry
    ) -> None:
        configure(pulling_engine, "images.pull", "always")
        name = next(moving).through(proxy)
        first = pulling_engine.prepare(*ONE, image=name)
        second = next(moving)
        result = pulling_engine.prepare(*ONE, image=name)
        assert result["image_id"] != first["image_id"]
        found = {each["digest"]: each for each in images(pulling_engine)}
        assert result["image_id"] == found[second.image.digest]["image_id"]
        assert name in found[second.image.digest]["references"]
        # Without the registry, the one that is here serves.
        proxy.add("/v2/", times=None, status=404)
        again = pulling_engine.prepare(*ONE, image=name)
        assert again["state_id"] == result["state_id"]

    def test_never_fails_for_what_is_not_here(
        self, pulling_engine: EngineProcess, small_postgres: PushedImage, proxy: FaultyRegistry
    ) -> None:
        name = small_postgres.through(proxy)
        configure(pulling_engine, "images.pull", "never")
        error = failure(pulling_engine, name)
        assert error["code"] == "image_unavailable"
        assert "images.pull" in json.dumps(error)
        assert proxy.requests == []


def test_an_image_store_outlives_the_state_store(
    engine_factory: EngineFactory,
    image_store: Path,
    small_postgres: PushedImage,
    proxy: FaultyRegistry,
) -> None:
    name = small_postgres.through(proxy)
    environ = {"SQLRS_IMAGE_STORE": str(image_store)}
    first = engine_factory(environ=environ).start()
    state = first.prepare(*ONE, image=name)["state_id"]
    assert first.stop() == 0
    proxy.clear()
    second = engine_factory(environ=environ).start()
    assert second.prepare(*ONE, image=name)["state_id"] == state
    assert proxy.requests == []
