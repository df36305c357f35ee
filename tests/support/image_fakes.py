"""Images of registries without a registry: a pull makes a record, or fails as told."""

import hashlib
from pathlib import Path, PurePosixPath

from sqlrs_engine.errors import EngineError, ImageUnavailable
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.postgres.distributions.pulled_images import PulledImage, Work
from sqlrs_engine.postgres.images.image_store import ImageStore, StoredImage
from sqlrs_engine.postgres.images.manifests import ImageConfig, digest_of
from sqlrs_engine.postgres.images.programs import ImagePrograms
from sqlrs_engine.postgres.images.references import parse_reference
from sqlrs_engine.processes.cancellation import Cancellation


class FakeImages:
    """The images that were added; a pull finds those in ``registry``, by reference."""

    def __init__(self) -> None:
        self.registry: dict[str, str] = {}
        self.fail: EngineError | None = None
        self.asked: list[tuple[str, bool]] = []
        self.known: dict[str, str] = {}
        self._pulled: dict[str, PulledImage] = {}

    def add(self, reference: str, version: str, *, size_bytes: int = 1000) -> PulledImage:
        """Return the image, as if it had been pulled before."""
        digest = hashlib.sha256(reference.encode()).hexdigest()
        self._pulled[reference] = PulledImage(
            distribution=Distribution(
                image_id=f"postgres@sha256:{digest}",
                version=version,
                major=int(version.partition(".")[0]),
                bin_dir=Path("/images", digest, "bin"),
                origin="image",
                extensions=("plpgsql", "postgis"),
            ),
            digest=f"sha256:{digest}",
            references=(reference,),
            size_bytes=size_bytes,
        )
        return self._pulled[reference]

    def available(self) -> list[PulledImage]:
        return list(self._pulled.values())

    def resolve(self, image: str, work: Work | None) -> Distribution:
        self.asked.append((image, work is not None))
        if image not in self._pulled:
            if self.fail is not None:
                raise self.fail
            if work is None or image not in self.registry:
                raise ImageUnavailable(f"no PostgreSQL for {image}", "it is nowhere")
            work.log(f"pulling {image}")
            self.add(image, self.registry[image])
        return self._pulled[image].distribution

    def advice(self, image_id: str) -> str | None:
        return self.known.get(image_id)


def store_image(
    store: ImageStore,
    reference: str,
    version: str = "17.2",
    content: str = "",
    origin: str = "docker.io",
) -> StoredImage:
    """Put an image into a real store, whose programs only tell their version.

    Another ``content`` makes another image of the same reference.
    """
    digest = digest_of(f"{reference} {version} {content}".encode())
    programs = ImagePrograms(
        bin_dir=PurePosixPath("usr/lib/postgresql/bin"),
        banner=f"postgres (PostgreSQL) {version}",
        version=version,
        major=int(version.partition(".")[0]),
        extensions=("plpgsql", "postgis"),
    )
    with store.pulling(Cancellation()), store.workspace() as made:
        rootfs = made / "image" / "rootfs"
        (rootfs / programs.bin_dir).mkdir(parents=True)
        for name in ("postgres", "initdb", "psql"):
            program = rootfs / programs.bin_dir / name
            program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
            program.chmod(0o755)
        image = StoredImage(
            digest=digest,
            rootfs=rootfs,
            config=ImageConfig(os="linux", architecture="amd64"),
            programs=programs,
            size_bytes=12_345_678,
            origin=origin,
        )
        store.publish(made / "image", image)
    store.remember(parse_reference(reference), digest)
    found = store.by_digest(digest)
    assert found is not None
    return found
