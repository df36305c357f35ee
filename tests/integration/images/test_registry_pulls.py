"""Pulls from a real registry, without the PostgreSQL in the image: what arrives, and what does not.

The images have a megabyte of arbitrary bytes; `Puller` stands in for what makes programs runnable.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from support.directories import remove_tree
from support.fault_proxy import BLOB, MANIFEST, FaultyRegistry, faulty
from support.fix_engine import environment
from support.fix_images import PushedImage, PushImage
from support.image_engines import disk_usage, docker_login, files_in
from support.images import (
    Blob,
    Compression,
    Flavour,
    Image,
    Index,
    Layer,
    LayerWriter,
    digest_of,
    push_blob,
    settings,
)
from support.postgres_images import ARCHITECTURE
from support.registry import PASSWORD, USER, Registry, registries
from support.token_server import PUBLIC, TokenServer, token_servers
from support.waiting import eventually

from sqlrs_engine.errors import (
    Cancelled,
    EngineError,
    ImageCorrupt,
    ImageUnavailable,
    ImageUnusable,
    RegistryUnauthorized,
    RegistryUnavailable,
    StorageFull,
)
from sqlrs_engine.postgres.images.credentials import Credentials
from sqlrs_engine.postgres.images.image_store import ImageStore, StoredImage
from sqlrs_engine.postgres.images.manifests import ImageConfig
from sqlrs_engine.postgres.images.programs import ImagePrograms
from sqlrs_engine.postgres.images.progress import Progress
from sqlrs_engine.postgres.images.pull import RegistryAccess, pull
from sqlrs_engine.postgres.images.references import parse_reference
from sqlrs_engine.postgres.images.registry_hosts import registry_settings
from sqlrs_engine.processes.cancellation import Cancellation

MIB = 1024 * 1024
CHUNK = 256 * 1024  # what a broken connection may lose of what it has brought


def make_runnable(rootfs: Path, config: ImageConfig) -> ImagePrograms:
    """Take any root file system for a PostgreSQL 17.2."""
    return ImagePrograms(bin_dir=PurePosixPath("bin"), banner="", version="17.2", major=17)


@dataclass
class Puller:
    """Pulls into a store of its own, as one user."""

    store: ImageStore
    environ: Mapping[str, str] = field(default_factory=dict)
    registries: Mapping[str, Any] = field(default_factory=dict)
    progress: list[Progress] = field(default_factory=list)

    def pull(self, reference: str, cancellation: Cancellation | None = None) -> StoredImage:
        return pull(
            parse_reference(reference),
            self.store,
            RegistryAccess(
                registries=registry_settings(self.registries),
                credentials=Credentials(self.environ),
            ),
            make_runnable=make_runnable,
            on_progress=self.progress.append,
            cancellation=cancellation,
        )

    def refused(self, reference: str) -> EngineError:
        """Return the error of a pull that must fail; it leaves no image."""
        with pytest.raises(EngineError) as caught:
            self.pull(reference)
        assert self.store.images() == []
        assert not [*self.store.root.glob("temporary/*")]
        return caught.value


@pytest.fixture
def store() -> Iterator[ImageStore]:
    root = Path(tempfile.mkdtemp(prefix="sqlrs-test-images-"))
    yield ImageStore(root)
    remove_tree(root)


@pytest.fixture
def puller(store: ImageStore) -> Puller:
    return Puller(store)


class MakeLayer:
    """Writes layers with a file of arbitrary bytes, which no compression makes smaller."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.count = 0

    def __call__(
        self, name: str = "data", *, size: int = MIB, compression: Compression = "gzip"
    ) -> Layer:
        with self.tree(compression) as tree:
            tree.file(f"usr/{name}", random.Random(f"{name}{size}").randbytes(size))
        return tree.layer

    def tree(self, compression: Compression = "gzip") -> LayerWriter:
        self.count += 1
        return LayerWriter(self.directory / f"layer{self.count}", compression)


@pytest.fixture
def make_layer(tmp_path: Path) -> MakeLayer:
    return MakeLayer(tmp_path)


def image_of(*layers: Layer, flavour: Flavour = "oci", **fields: Any) -> Image:
    config = settings("PG_MAJOR=17", Labels={"of": "tests"})
    return Image(layers, config, **{"architecture": ARCHITECTURE, "flavour": flavour, **fields})


@pytest.fixture
def pushed(push_image: PushImage, make_layer: MakeLayer) -> PushedImage:
    """An image of two layers."""
    return push_image(image_of(make_layer("one"), make_layer("two")))


def layers_of(pushed: PushedImage) -> Sequence[Layer]:
    assert isinstance(pushed.image, Image)
    return pushed.image.layers


class TestAnImage:
    def test_is_pulled_by_its_tag_and_found_by_its_digest(
        self, puller: Puller, pushed: PushedImage
    ) -> None:
        image = puller.pull(pushed.reference)
        assert image.digest == pushed.image.digest
        assert image.config.env["PG_MAJOR"] == "17"
        assert (image.rootfs / "usr/one").stat().st_size == MIB
        (kept,) = puller.store.images()
        assert kept.references == (pushed.reference, pushed.by_digest)
        assert puller.store.find(parse_reference(pushed.by_digest)) == kept

    def test_is_pulled_by_its_digest(self, puller: Puller, pushed: PushedImage) -> None:
        assert puller.pull(pushed.by_digest).references == (pushed.by_digest,)

    def test_is_not_pulled_again(
        self, puller: Puller, pushed: PushedImage, proxy: FaultyRegistry
    ) -> None:
        puller.pull(pushed.through(proxy))
        proxy.clear()
        puller.pull(pushed.through(proxy))
        assert proxy.gets() == []

    @pytest.mark.parametrize("flavour", ["oci", "docker"])
    def test_is_the_one_of_this_platform(
        self, puller: Puller, push_image: PushImage, make_layer: MakeLayer, flavour: Flavour
    ) -> None:
        other = image_of(make_layer("other"), flavour=flavour, architecture="s390x")
        ours = image_of(make_layer("ours"), flavour=flavour)
        windows = image_of(make_layer("theirs"), flavour=flavour, os="windows")
        index = push_image(Index((other, windows, ours), flavour))
        image = puller.pull(index.reference)
        assert image.digest == ours.digest
        assert [path.name for path in (image.rootfs / "usr").iterdir()] == ["ours"]
        # Both digests name it from now on.
        puller.pull(index.by_digest)
        assert len(puller.store.images()) == 1

    @pytest.mark.parametrize("compression", ["plain", "gzip", "zstd"])
    def test_has_layers_of_every_kind(
        self,
        puller: Puller,
        push_image: PushImage,
        make_layer: MakeLayer,
        compression: Compression,
    ) -> None:
        layer = make_layer(compression=compression)
        image = puller.pull(push_image(image_of(layer)).reference)
        assert (image.rootfs / "usr/data").stat().st_size == MIB

    def test_is_what_its_layers_make_of_each_other(
        self, puller: Puller, push_image: PushImage, make_layer: MakeLayer
    ) -> None:
        with make_layer.tree() as below:
            below.directory("d")
            below.file("d/kept", b"kept")
            below.file("d/gone", b"gone")
            below.file("o/gone", b"gone")
            below.file("replaced", b"below", 0o755)
            below.file("linked", b"linked")
            below.symlink("link", "d/kept")
        with make_layer.tree() as above:
            above.whiteout("d/gone")
            above.opaque("o")
            above.file("o/new", b"new")
            above.file("replaced", b"above")
            above.hard_link("second", "linked")
        root = puller.pull(push_image(image_of(below.layer, above.layer)).reference).rootfs
        files = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        assert files == {
            "d/kept": b"kept",
            "o/new": b"new",
            "replaced": b"above",
            "linked": b"linked",
            "second": b"linked",
            "link": b"kept",
        }

    def test_shares_its_layers_with_others(
        self,
        puller: Puller,
        pushed: PushedImage,
        push_image: PushImage,
        make_layer: MakeLayer,
        proxy: FaultyRegistry,
    ) -> None:
        own = make_layer("own", size=1000)
        second = push_image(image_of(*layers_of(pushed), own))
        first = puller.pull(pushed.through(proxy))
        used = disk_usage(puller.store.root)
        proxy.clear()
        image = puller.pull(second.through(proxy))
        assert {each.path.rpartition("/")[2] for each in proxy.gets()} == {
            own.digest,
            second.image.config.digest,  # type: ignore[union-attr]
        }
        assert (first.rootfs / "usr/one").samefile(image.rootfs / "usr/one")
        assert disk_usage(puller.store.root) < used * 1.1

        puller.store.remove(first.digest)
        puller.store.collect()
        assert (image.rootfs / "usr/one").stat().st_size == MIB
        puller.store.remove(image.digest)
        puller.store.collect()
        assert files_in(puller.store.root) == []

    def test_reports_its_progress_in_bytes(self, puller: Puller, pushed: PushedImage) -> None:
        puller.pull(pushed.reference)
        total = sum(each.size for each in layers_of(pushed))
        downloads = [each for each in puller.progress if each.phase == "downloading"]
        assert {each.total_bytes for each in downloads} == {total}
        done = [each.done_bytes for each in downloads]
        assert done == sorted(done)
        assert done[-1] == total


class TestCredentials:
    def test_are_those_of_docker_login(
        self, puller: Puller, pushed: PushedImage, protected_registry: Registry, tmp_path: Path
    ) -> None:
        docker_login(tmp_path, protected_registry)
        puller.environ = {"HOME": str(tmp_path)}
        puller.pull(at(protected_registry, pushed))

    def test_are_those_of_the_registry_auth_file(
        self, puller: Puller, pushed: PushedImage, protected_registry: Registry, tmp_path: Path
    ) -> None:
        file = docker_login(tmp_path, protected_registry)
        puller.environ = {"HOME": str(tmp_path / "none"), "REGISTRY_AUTH_FILE": str(file)}
        puller.pull(at(protected_registry, pushed))

    def test_come_from_helpers(
        self, puller: Puller, pushed: PushedImage, protected_registry: Registry, tmp_path: Path
    ) -> None:
        (tmp_path / "bin").mkdir()
        helper = tmp_path / "bin/docker-credential-tests"
        answer = json.dumps({"Username": USER, "Secret": PASSWORD})
        helper.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{answer}'\n")
        helper.chmod(0o755)
        config = tmp_path / ".docker/config.json"
        config.parent.mkdir()
        config.write_text(json.dumps({"credHelpers": {protected_registry.host: "tests"}}))
        path = f"{tmp_path}/bin:{os.environ['PATH']}"
        puller.environ = {"HOME": str(tmp_path), "PATH": path}
        puller.pull(at(protected_registry, pushed))

    def test_that_are_missing_or_wrong_fail_with_advice(
        self, puller: Puller, pushed: PushedImage, protected_registry: Registry, tmp_path: Path
    ) -> None:
        puller.environ = {"HOME": str(tmp_path)}
        for password in (None, "not-the-password"):
            if password is not None:
                docker_login(tmp_path, protected_registry, password)
            error = puller.refused(at(protected_registry, pushed))
            assert isinstance(error, RegistryUnauthorized)
            assert "login" in error.message
            assert protected_registry.host in str(error)
            assert "not-the-password" not in str(error)
        assert files_in(puller.store.root) == []

    def test_are_exchanged_for_tokens(
        self,
        puller: Puller,
        pushed: PushedImage,
        token_server: TokenServer,
        token_registry: Registry,
        tmp_path: Path,
    ) -> None:
        docker_login(tmp_path, token_registry)
        puller.environ = {"HOME": str(tmp_path)}
        puller.pull(at(token_registry, pushed))
        scopes = {scope for _, query in token_server.requests for scope in query["scope"]}
        assert scopes == {f"repository:{pushed.repository}:pull"}
        # One token serves the manifest and all layers.
        assert len(token_server.requests) <= 2

    def test_are_not_needed_for_what_is_public(
        self,
        puller: Puller,
        pushed: PushedImage,
        push_image: PushImage,
        token_server: TokenServer,
        token_registry: Registry,
    ) -> None:
        public = push_image(pushed.image, "latest", f"{PUBLIC}{pushed.repository}")
        puller.pull(at(token_registry, public))
        assert {given for given, _ in token_server.requests} == {None}
        with pytest.raises(RegistryUnauthorized):
            puller.pull(at(token_registry, pushed))

    def test_stay_with_the_registry_that_sends_elsewhere(
        self,
        puller: Puller,
        pushed: PushedImage,
        registry: Registry,
        protected_registry: Registry,
        tmp_path: Path,
    ) -> None:
        """Large registries redirect downloads of layers to the storage of others."""
        layer = layers_of(pushed)[0]
        path = f"/v2/{pushed.repository}/blobs/{layer.digest}"
        with faulty(protected_registry) as front, faulty(registry) as storage:
            location = {"Location": f"http://localhost:{storage.port}{path}?signature=x"}
            front.add(layer.digest, times=None, status=307, headers=location)
            auth = docker_login(tmp_path, protected_registry)
            auth.write_text(auth.read_text().replace(protected_registry.host, front.host))
            puller.environ = {"HOME": str(tmp_path)}
            puller.pull(pushed.through(front))
            assert storage.sent() == layer.size
            assert not any("authorization" in each.headers for each in storage.requests)


def at(registry: Registry, pushed: PushedImage) -> str:
    """Return the reference of the image in another registry with the same storage."""
    return replace(pushed, registry=registry).reference


@pytest.fixture(scope="module")
def token_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    with token_servers(tmp_path_factory.mktemp("tokens")) as server:
        yield server


@pytest.fixture
def token_registry(token_server: TokenServer, registry: Registry) -> Iterator[Registry]:
    token_server.requests.clear()
    certificate = token_server.certificate
    realm = token_server.realm
    with registries(registry.storage, token_realm=realm, token_certificate=certificate) as running:
        yield running


class TestAMirror:
    def test_stands_in_for_its_registry(self, puller: Puller, pushed: PushedImage) -> None:
        puller.registries = {"docker.io": {"mirrors": [pushed.registry.host]}}
        image = puller.pull(f"{pushed.repository}:{pushed.tag}")
        assert image.references[0] == f"{pushed.repository}:{pushed.tag}"

    def test_that_fails_is_passed_over(
        self, puller: Puller, pushed: PushedImage, proxy: FaultyRegistry, free_port: int
    ) -> None:
        proxy.add("/v2/", times=None, status=404)
        mirrors = [f"localhost:{free_port}", proxy.host]
        puller.registries = {pushed.registry.host: {"mirrors": mirrors}}
        puller.pull(pushed.reference)
        assert proxy.requests


class TestAPullThatIsInterrupted:
    def test_goes_on_where_the_connection_broke(
        self, puller: Puller, pushed: PushedImage, proxy: FaultyRegistry
    ) -> None:
        layer = layers_of(pushed)[0]
        proxy.add(layer.digest, cut_after=600_000)
        puller.pull(pushed.through(proxy))
        first, second = proxy.gets(layer.digest)
        assert first.sent == 600_000
        assert second.range is not None
        begin = int(second.range.removeprefix("bytes=").removesuffix("-"))
        assert 600_000 - CHUNK < begin <= 600_000
        assert second.sent == layer.size - begin

    def test_starts_again_where_a_registry_knows_no_ranges(
        self, puller: Puller, pushed: PushedImage, proxy: FaultyRegistry
    ) -> None:
        layer = layers_of(pushed)[0]
        proxy.add(layer.digest, cut_after=600_000)
        proxy.add(layer.digest, times=None, without_range=True)
        puller.pull(pushed.through(proxy))
        assert proxy.sent(layer.digest) == layer.size + 600_000

    def test_survives_many_cuts(
        self, puller: Puller, pushed: PushedImage, proxy: FaultyRegistry
    ) -> None:
        """Each try that brings something on is no reason to give up."""
        layer = layers_of(pushed)[0]
        cut = proxy.add(layer.digest, times=None, cut_after=CHUNK + 1)
        puller.pull(pushed.through(proxy))
        assert cut.hits == len(proxy.gets(layer.digest)) >= 4

    def test_waits_as_long_as_the_registry_says(
        self, puller: Puller, pushed: PushedImage, proxy: FaultyRegistry
    ) -> None:
        proxy.add(MANIFEST, status=429, headers={"Retry-After": "1"})
        proxy.add(BLOB, status=503)
        puller.pull(pushed.through(proxy))
        assert [each.status for each in proxy.requests].count(429) == 1
        assert [each.status for each in proxy.gets()].count(503) == 1

    def test_gives_up_when_the_registry_only_fails(
        self, puller: Puller, pushed: PushedImage, proxy: FaultyRegistry
    ) -> None:
        proxy.add(BLOB, times=None, status=500)
        error = puller.refused(pushed.through(proxy))
        assert isinstance(error, RegistryUnavailable)
        assert proxy.host in str(error)

    def test_by_a_kill_goes_on_with_the_next(
        self, puller: Puller, pushed: PushedImage, proxy: FaultyRegistry, tmp_path: Path
    ) -> None:
        layer = layers_of(pushed)[1]
        hold = proxy.add(layer.digest, hold_after=600_000)
        name = pushed.through(proxy)
        environ = environment(tmp_path, SQLRS_IMAGE_STORE=str(puller.store.root))
        command = [sys.executable, "-m", "sqlrs_engine", "postgres", "pull", name]
        with subprocess.Popen(
            command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            eventually(hold.held.is_set, "a pull that stands still")
            kept = puller.store.layout.download(layer.digest)
            eventually(
                lambda: kept.exists() and kept.stat().st_size >= CHUNK, "a kept part of the layer"
            )
            process.send_signal(signal.SIGKILL)
        assert puller.store.images() == []
        proxy.clear()
        puller.pull(name)
        assert all(each.range for each in proxy.gets(layer.digest))
        assert proxy.sent(layer.digest) < layer.size
        assert not [*puller.store.root.glob("temporary/*")]
        assert not [*puller.store.root.glob("downloads/*")]

    def test_ends_at_once_when_it_is_cancelled(
        self, puller: Puller, pushed: PushedImage, proxy: FaultyRegistry
    ) -> None:
        hold = proxy.add(BLOB, times=None, hold_after=100_000)
        cancellation = Cancellation()
        with ThreadPoolExecutor() as pool:
            pulling = pool.submit(puller.pull, pushed.through(proxy), cancellation)
            eventually(hold.held.is_set, "a pull that stands still")
            cancellation.cancel()
            # The registry still says nothing.
            with pytest.raises(Cancelled):
                pulling.result(30)
        assert puller.store.images() == []
        assert not [*puller.store.root.glob("temporary/*")]
        proxy.clear()
        puller.pull(pushed.through(proxy))

    def test_is_shared_by_all_that_want_the_image(
        self, puller: Puller, pushed: PushedImage, proxy: FaultyRegistry
    ) -> None:
        hold = proxy.add(layers_of(pushed)[0].digest, hold_after=100_000)
        name = pushed.through(proxy)
        with ThreadPoolExecutor() as pool:
            pulls = [pool.submit(puller.pull, name) for _ in range(3)]
            eventually(hold.held.is_set, "a pull that stands still")
            hold.release.set()
            found = {pulling.result(60).digest for pulling in pulls}
        assert found == {pushed.image.digest}
        for layer in layers_of(pushed):
            assert len(proxy.gets(layer.digest)) == 1


class TestAnImageThatIsRefused:
    def test_has_a_layer_with_another_digest(
        self, puller: Puller, pushed: PushedImage, proxy: FaultyRegistry
    ) -> None:
        layer = layers_of(pushed)[0]
        proxy.add(layer.digest, times=None, corrupt_at=layer.size // 2)
        error = puller.refused(pushed.through(proxy))
        assert isinstance(error, ImageCorrupt)
        assert "sha256:" in str(error)
        left = files_in(puller.store.root)
        assert not any(layer.digest[7:] in path or "usr/one" in path for path in left), left
        proxy.clear()
        puller.pull(pushed.through(proxy))

    @pytest.mark.parametrize("part", ["manifest", "config"])
    def test_has_a_manifest_or_configuration_with_another_digest(
        self, puller: Puller, pushed: PushedImage, proxy: FaultyRegistry, part: str
    ) -> None:
        proxy.add(getattr(pushed.image, part).digest, times=None, corrupt_at=60)
        name = f"{proxy.host}/{pushed.repository}@{pushed.image.digest}"
        assert isinstance(puller.refused(name), ImageCorrupt)

    def test_has_a_layer_whose_content_is_another(
        self, puller: Puller, pushed: PushedImage, registry: Registry
    ) -> None:
        """The configuration names the digest of the unpacked layer as well."""
        assert isinstance(pushed.image, Image)
        config = json.loads(b"".join(pushed.image.config.chunks()))
        config["rootfs"]["diff_ids"][0] = digest_of(b"something else")
        error = puller.refused(push_raw(registry, pushed.image, config))
        assert isinstance(error, ImageCorrupt)

    def test_has_a_layer_that_ends_too_early(
        self, puller: Puller, push_image: PushImage, make_layer: MakeLayer
    ) -> None:
        whole = make_layer(compression="plain")
        content = whole.path.read_bytes()[: MIB // 2]
        whole.path.write_bytes(content)
        digest = digest_of(content)
        short = replace(whole, digest=digest, diff_id=digest, size=len(content))
        error = puller.refused(push_image(image_of(short)).reference)
        assert isinstance(error, ImageCorrupt)

    def test_is_not_for_this_platform(
        self, puller: Puller, push_image: PushImage, make_layer: MakeLayer
    ) -> None:
        layer = make_layer(size=10)
        foreign = [image_of(layer, architecture=each) for each in ("s390x", "riscv64")]
        for name in (push_image(Index(tuple(foreign))), push_image(foreign[0])):
            error = puller.refused(name.reference)
            assert isinstance(error, ImageUnavailable)
            assert f"linux/{ARCHITECTURE}" in str(error)

    def test_does_not_exist(self, puller: Puller, pushed: PushedImage) -> None:
        host = pushed.registry.host
        digest = digest_of(b"nothing")
        for name in (
            f"{host}/no/such:tag",
            f"{host}/{pushed.repository}:other",
            f"{host}/{pushed.repository}@{digest}",
        ):
            error = puller.refused(name)
            assert isinstance(error, ImageUnavailable)
            assert name in str(error)
        assert files_in(puller.store.root) == []

    def test_is_behind_a_closed_port_or_an_unknown_name(
        self, puller: Puller, free_port: int
    ) -> None:
        for host in (f"localhost:{free_port}", "registry.invalid"):
            error = puller.refused(f"{host}/postgres:1")
            assert isinstance(error, RegistryUnavailable)
            assert host in str(error)
        assert files_in(puller.store.root) == []

    def test_is_behind_a_server_of_something_else(
        self, puller: Puller, pushed: PushedImage, proxy: FaultyRegistry
    ) -> None:
        page = {"Content-Type": "text/html"}
        proxy.add("/v2/", times=None, status=200, headers=page, body=b"<html>welcome</html>")
        error = puller.refused(pushed.through(proxy))
        assert isinstance(error, ImageCorrupt | RegistryUnavailable)

    @pytest.mark.parametrize(
        "entry",
        [
            {"name": "../outside"},
            {"name": "a/../../outside"},
            {"name": "usr/evil", "type": b"1", "linkname": "../../../../../../etc/passwd"},
            {"name": "usr/evil", "type": b"1", "linkname": "/etc/passwd"},
            {"name": "../outside", "type": b"5"},
        ],
        ids=["path", "path inside", "hard link", "absolute hard link", "directory"],
    )
    def test_never_leads_out_of_its_root(
        self,
        puller: Puller,
        push_image: PushImage,
        make_layer: MakeLayer,
        entry: dict[str, Any],
    ) -> None:
        """It is refused, or the entry stays inside or is left out, as container runtimes do."""
        with make_layer.tree() as tree:
            tree.file("usr/file", b"x")
            tree.entry(**{"mode": 0o644, **entry})
        name = push_image(image_of(tree.layer)).reference
        try:
            root = puller.pull(name).rootfs
        except (ImageCorrupt, ImageUnusable):
            root = None
        store = puller.store.root
        assert not [*store.parent.glob("outside")]
        assert not [
            path
            for path in store.rglob("outside")
            if "rootfs" not in path.parts[:-1] and "layers" not in path.parts[:-1]
        ]
        if root is not None and (root / "usr/evil").exists():
            assert not (root / "usr/evil").samefile("/etc/passwd")

    def test_writes_nowhere_through_a_link(
        self, puller: Puller, push_image: PushImage, make_layer: MakeLayer, tmp_path: Path
    ) -> None:
        target = tmp_path / "target"
        target.mkdir()
        with make_layer.tree() as below:
            below.symlink("way", str(target))
            below.symlink("up", "../../../../../../../.." + str(target))
        with make_layer.tree() as above:
            above.file("way/file", b"x")
            above.file("up/file", b"x")
        name = push_image(image_of(below.layer, above.layer)).reference
        with contextlib.suppress(ImageCorrupt, ImageUnusable):
            puller.pull(name)
        assert [*target.iterdir()] == []


def push_raw(registry: Registry, image: Image, config: dict[str, Any]) -> str:
    """Push an image with a configuration that does not fit; return its reference."""
    content = json.dumps(config).encode()
    blob = Blob(digest_of(content), len(content), content)
    manifest = json.loads(b"".join(image.manifest.chunks()))
    manifest["config"] |= {"digest": blob.digest, "size": blob.size}
    name = f"tests/raw{blob.digest[7:19]}"
    with registry.client() as client:
        for each in (*image.layers, blob):
            push_blob(client, name, each)
        answer = client.put(
            f"/v2/{name}/manifests/latest",
            content=json.dumps(manifest).encode(),
            headers={"Content-Type": manifest["mediaType"]},
        )
        assert answer.status_code == 201, answer.text
    return f"{registry.host}/{name}"


@pytest.fixture
def address() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback")
        found: str = probe.getsockname()[0]
        return found


def test_plain_http_is_for_loopback_and_what_the_configuration_names(
    puller: Puller, pushed: PushedImage, registry: Registry, address: str
) -> None:
    with faulty(registry, address) as proxy:
        host = f"{address}:{proxy.port}"
        error = puller.refused(f"{host}/{pushed.repository}:{pushed.tag}")
        assert isinstance(error, RegistryUnavailable)
        assert "insecure" in str(error)
        assert proxy.requests == []
        puller.registries = {host: {"insecure": True}}
        puller.pull(f"{host}/{pushed.repository}:{pushed.tag}")


def test_a_certificate_is_verified_unless_the_configuration_says_otherwise(
    puller: Puller,
    pushed: PushedImage,
    registry: Registry,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with registries(registry.storage, encrypted_at=address) as encrypted:
        name = at(encrypted, pushed)
        error = puller.refused(name)
        assert isinstance(error, RegistryUnavailable)
        assert "SSL_CERT_FILE" in error.message
        assert "insecure" in error.message
        with monkeypatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", str(encrypted.log.with_name("tls.crt")))
            image = puller.pull(name)
        puller.store.remove(image.digest)
        puller.registries = {encrypted.host: {"insecure": True}}
        puller.pull(name)


@pytest.mark.root
def test_a_full_disk_is_told_and_freed(
    push_image: PushImage, make_layer: MakeLayer, small_disk: Path
) -> None:
    puller = Puller(ImageStore(small_disk / "images"))
    small = push_image(image_of(make_layer("small")))
    large = push_image(image_of(make_layer("large", size=45 * MIB, compression="plain")))
    error = puller.refused(large.reference)
    assert isinstance(error, StorageFull)
    assert "postgres rm" in error.message
    puller.pull(small.reference)
