"""Container images for tests: layers, configuration, manifest and index, made without Docker.

The same entries give the same bytes, and so the same digests, in every process of a run. Layers
are files, so that the large ones are never held in memory. ::

    with LayerWriter(directory / "layer", "gzip") as tree:
        tree.file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n")
    image = Image((tree.layer,), settings("PG_MAJOR=15"))
    push(registry, "org/name", "tag", image)
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

import httpx
import pytest

try:  # in a third of the time
    from isal.igzip import GzipFile
except ImportError:
    from gzip import GzipFile  # type: ignore[assignment]

Compression = Literal["plain", "gzip", "zstd"]
Flavour = Literal["oci", "docker"]

TYPES = {
    "oci": {
        "index": "application/vnd.oci.image.index.v1+json",
        "manifest": "application/vnd.oci.image.manifest.v1+json",
        "config": "application/vnd.oci.image.config.v1+json",
        "plain": "application/vnd.oci.image.layer.v1.tar",
        "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
        "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
    },
    "docker": {
        "index": "application/vnd.docker.distribution.manifest.list.v2+json",
        "manifest": "application/vnd.docker.distribution.manifest.v2+json",
        "config": "application/vnd.docker.container.image.v1+json",
        "plain": "application/vnd.docker.image.rootfs.diff.tar",
        "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "zstd": "application/vnd.docker.image.rootfs.diff.tar.zstd",
    },
}
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
FAST = 1  # the level of compression: images of tests are read a few times only
_CHUNK = 1024 * 1024


def digest_of(content: bytes) -> str:
    """Return the digest of bytes as registries write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True)
class Blob:
    """Bytes with a digest: in a file, or in memory for small ones."""

    digest: str
    size: int
    content: bytes | Path

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes."""
        if isinstance(self.content, bytes):
            yield self.content
            return
        with self.content.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk


@dataclass(frozen=True)
class Layer(Blob):
    """A layer as it travels, and the digest of its tar archive."""

    compression: Compression
    diff_id: str

    @property
    def path(self) -> Path:
        """The file of the layer."""
        assert isinstance(self.content, Path)
        return self.content


@dataclass(frozen=True)
class Image:
    """An image of one platform."""

    layers: tuple[Layer, ...]
    config_fields: Mapping[str, Any] = field(default_factory=dict)
    architecture: str = "amd64"
    os: str = "linux"
    flavour: Flavour = "oci"

    @property
    def config(self) -> Blob:
        """The configuration, with the digests of the layers' contents."""
        return _json_blob(
            {
                "architecture": self.architecture,
                "os": self.os,
                "created": "2026-01-01T00:00:00Z",
                "config": dict(self.config_fields),
                "rootfs": {"type": "layers", "diff_ids": [each.diff_id for each in self.layers]},
                "history": [{"created_by": "tests"} for _ in self.layers],
            }
        )

    @property
    def manifest(self) -> Blob:
        """The manifest; its digest is the image's."""
        types, config = TYPES[self.flavour], self.config
        return _json_blob(
            {
                "schemaVersion": 2,
                "mediaType": types["manifest"],
                "config": _descriptor(types["config"], config),
                "layers": [_descriptor(types[each.compression], each) for each in self.layers],
            }
        )

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return self.manifest.digest


@dataclass(frozen=True)
class Index:
    """An image of several platforms."""

    images: tuple[Image, ...]
    flavour: Flavour = "oci"

    @property
    def manifest(self) -> Blob:
        """The list of the platforms' manifests."""
        return _json_blob(
            {
                "schemaVersion": 2,
                "mediaType": TYPES[self.flavour]["index"],
                "manifests": [
                    {
                        **_descriptor(TYPES[each.flavour]["manifest"], each.manifest),
                        "platform": {"architecture": each.architecture, "os": each.os},
                    }
                    for each in self.images
                ],
            }
        )

    @property
    def digest(self) -> str:
        """The digest of the list."""
        return self.manifest.digest


def settings(*env: str, **fields: Any) -> dict[str, Any]:
    """Return the part of a configuration that ``docker run`` reads, in Docker's spelling."""
    return {"Env": list(env), **fields}


class LayerWriter:
    """Writes the entries of one layer; ``layer`` is there once the context is left.

    Entries belong to root and have one time, whatever the files they are made from have.
    Parents are not added: a layer may leave them out, as real ones do.
    """

    def __init__(self, path: Path, compression: Compression = "plain") -> None:
        self.path = path
        self._compression = compression
        self._layer: Layer | None = None

    def __enter__(self) -> "LayerWriter":
        self._stack = contextlib.ExitStack()
        file = self._stack.enter_context(self.path.open("wb"))
        target = self._stack.enter_context(_compressor(file, self._compression))
        self._tee = _HashingWriter(target)
        self._tar = self._stack.enter_context(
            tarfile.open(fileobj=self._tee, mode="w|", format=tarfile.PAX_FORMAT)
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        if error is None:
            with self.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            self._layer = Layer(
                digest=f"sha256:{digest}",
                size=self.path.stat().st_size,
                content=self.path,
                compression=self._compression,
                diff_id=f"sha256:{self._tee.hash.hexdigest()}",
            )

    @property
    def layer(self) -> Layer:
        """The finished layer."""
        assert self._layer is not None, "the layer is not finished"
        return self._layer

    def directory(self, name: str, mode: int = 0o755) -> None:
        """Add a directory."""
        self.entry(name, type=tarfile.DIRTYPE, mode=mode)

    def file(self, name: str, content: bytes | Path, mode: int = 0o644) -> None:
        """Add a file with these bytes, or with those of another file."""
        if isinstance(content, bytes):
            self.entry(name, mode=mode, source=io.BytesIO(content), size=len(content))
            return
        with content.open("rb") as source:
            self.entry(name, mode=mode, source=source, size=content.stat().st_size)

    def symlink(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self.entry(name, type=tarfile.SYMTYPE, linkname=target, mode=0o777)

    def hard_link(self, name: str, target: str) -> None:
        """Add another name of a file of this layer or of one below."""
        self.entry(name, type=tarfile.LNKTYPE, linkname=target)

    def whiteout(self, name: str) -> None:
        """Delete what layers below have under this name."""
        directory, _, last = name.rpartition("/")
        self.file("/".join(filter(None, (directory, f"{WHITEOUT}{last}"))), b"")

    def opaque(self, directory: str) -> None:
        """Delete what layers below have in a directory."""
        self.file(f"{directory}/{OPAQUE}", b"")

    def tree(self, source: Path, name: str) -> None:
        """Add a directory and everything in it; a file's second name becomes a hard link."""
        links: dict[tuple[int, int], str] = {}
        self.directory(name)
        for place, directories, files in os.walk(source):
            directories.sort()
            inside = f"{name}/{Path(place).relative_to(source)}".removesuffix("/.")
            for each in sorted(directories + files):
                self._copy(Path(place) / each, f"{inside}/{each}", links)

    def _copy(self, path: Path, name: str, links: dict[tuple[int, int], str]) -> None:
        status = path.lstat()
        if path.is_symlink():
            self.symlink(name, str(path.readlink()))
        elif stat.S_ISDIR(status.st_mode):
            self.directory(name)
        elif status.st_nlink > 1 and (status.st_dev, status.st_ino) in links:
            self.hard_link(name, links[status.st_dev, status.st_ino])
        else:
            links[status.st_dev, status.st_ino] = name
            self.file(name, path, 0o755 if status.st_mode & 0o111 else 0o644)

    def entry(self, name: str, *, source: IO[bytes] | None = None, **fields: Any) -> None:
        """Add an entry of any kind, with the fields of ``tarfile.TarInfo``; also hostile ones."""
        info = tarfile.TarInfo(name)
        for key, value in fields.items():
            setattr(info, key, value)
        self._tar.addfile(info, source)


class _HashingWriter:
    """Passes bytes on, and hashes them."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        return self._target.write(data)


@contextlib.contextmanager
def _compressor(file: IO[bytes], compression: Compression) -> Iterator[IO[bytes]]:
    if compression == "plain":
        yield file
    elif compression == "gzip":
        # Without a name and a time, which would change the digest.
        with GzipFile("", "wb", FAST, file, mtime=0) as target:
            yield target
    else:
        program = shutil.which("zstd")
        if program is None:
            pytest.skip("zstd is not installed")
        command = [program, "-q", f"-{FAST}", "-c"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file) as process:
            assert process.stdin is not None
            yield process.stdin
            process.stdin.close()
            assert process.wait() == 0, "zstd failed"


def push(
    client: httpx.Client,
    repository: str,
    tag: str | None,
    image: Image | Index,
    *,
    without: Sequence[Blob] = (),
) -> str:
    """Push an image under a tag, or by its digest alone; return the digest.

    ``client`` has the registry's address and credentials. Blobs of ``without`` stay away: a
    registry accepts the manifest only if they are there already.
    """
    for each in image.images if isinstance(image, Index) else ():
        push(client, repository, None, each, without=without)
    if isinstance(image, Image):
        for blob in (*image.layers, image.config):
            if blob not in without:
                push_blob(client, repository, blob)
    kind = TYPES[image.flavour]["index" if isinstance(image, Index) else "manifest"]
    manifest = image.manifest
    answer = client.put(
        f"/v2/{repository}/manifests/{tag or manifest.digest}",
        content=b"".join(manifest.chunks()),
        headers={"Content-Type": kind},
    )
    assert answer.status_code == 201, answer.text
    return manifest.digest


def push_blob(client: httpx.Client, repository: str, blob: Blob) -> None:
    """Push a layer or a configuration, unless the repository has it."""
    if client.head(f"/v2/{repository}/blobs/{blob.digest}").status_code == 200:
        return
    begun = client.post(f"/v2/{repository}/blobs/uploads/")
    assert begun.status_code == 202, begun.text
    answer = client.put(
        httpx.URL(begun.headers["Location"]).copy_merge_params({"digest": blob.digest}),
        content=blob.chunks(),
        headers={"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)},
    )
    assert answer.status_code == 201, answer.text


def write_layout(directory: Path, image: Image | Index, tag: str | None = None) -> Path:
    """Write an OCI image layout, as ``skopeo copy … oci:`` and ``docker buildx`` do."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    images = image.images if isinstance(image, Index) else (image,)
    for each in images:
        for blob in (*each.layers, each.config, each.manifest):
            _write_blob(directory, blob)
    if isinstance(image, Index):
        _write_blob(directory, image.manifest)
    kind = TYPES[image.flavour]["index" if isinstance(image, Index) else "manifest"]
    entry = _descriptor(kind, image.manifest)
    if tag is not None:
        entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
    index = {"schemaVersion": 2, "mediaType": TYPES["oci"]["index"], "manifests": [entry]}
    (directory / "index.json").write_text(json.dumps(index))
    return directory


def write_docker_archive(path: Path, image: Image, *names: str) -> Path:
    """Write what ``docker save`` writes: ``names`` are the image's tags."""
    assert all(each.compression == "plain" for each in image.layers), "docker save never compresses"
    config = image.config.digest.removeprefix("sha256:")
    layers = [f"{each.diff_id.removeprefix('sha256:')}/layer.tar" for each in image.layers]
    manifest = [{"Config": f"{config}.json", "RepoTags": list(names), "Layers": layers}]
    with tarfile.open(path, "w") as archive:
        _add(archive, f"{config}.json", image.config)
        for name, layer in zip(layers, image.layers, strict=True):
            _add(archive, name, layer)
        _add(archive, "manifest.json", _json_blob(manifest))
    return path


def pack_layout(path: Path, layout: Path) -> Path:
    """Put an OCI image layout into one tar archive."""
    with tarfile.open(path, "w") as archive:
        for each in sorted(layout.iterdir()):
            archive.add(each, each.name)
    return path


def _add(archive: tarfile.TarFile, name: str, blob: Blob) -> None:
    info = tarfile.TarInfo(name)
    info.size = blob.size
    if isinstance(blob.content, bytes):
        archive.addfile(info, io.BytesIO(blob.content))
        return
    with blob.content.open("rb") as file:
        archive.addfile(info, file)


def _write_blob(layout: Path, blob: Blob) -> None:
    path = layout / "blobs" / blob.digest.replace(":", "/")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.writelines(blob.chunks())


def _json_blob(value: Any) -> Blob:
    content = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
    return Blob(digest_of(content), len(content), content)


def _descriptor(kind: str, blob: Blob) -> dict[str, Any]:
    return {"mediaType": kind, "digest": blob.digest, "size": blob.size}
