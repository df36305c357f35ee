"""Images in files: OCI image layouts, as a directory or in a tar archive, and ``docker save``'s.

Newer versions of ``docker save`` write an archive that is both; then it is read as a layout, which
has the digest that the registry has for the image.
"""

import json
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.processes.cancellation import Cancellation

from .archive_parts import Parts, opened_parts
from .assembly import Assembly, MakeRunnable
from .downloads import OnBytes
from .image_store import ImageStore, StoredImage, disk_failures
from .manifests import (
    MAX_CONFIG_BYTES,
    MAX_MANIFEST_BYTES,
    Descriptor,
    ImageConfig,
    Listed,
    Manifest,
    corrupt,
    digest_of,
    manifest_for,
    no_such_platform,
    read_config,
    read_index,
    read_manifest,
)
from .platforms import Platform, choose, this_platform
from .progress import OnProgress, Reporter, ignore
from .references import Reference, parse_reference

_LAYOUT_FILE = "oci-layout"
_INDEX_FILE = "index.json"
_DOCKER_FILE = "manifest.json"
_MAX_DEPTH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """An image in a file: its parts, its names, and the names of the files that have its layers."""

    manifest: Manifest
    config: ImageConfig
    names: tuple[Reference, ...]
    layer_files: dict[str, str]


def load(
    file: Path,
    store: ImageStore,
    *,
    make_runnable: MakeRunnable,
    name: Reference | None = None,
    on_progress: OnProgress = ignore,
    cancellation: Cancellation | None = None,
    platform: Platform | None = None,
) -> list[StoredImage]:
    """Return the images in a file or directory, made in the store unless they are there.

    The references are those that the file has, and ``name`` if it is given: then the file must
    hold one image. ``platform`` is a seam for tests.

    Raises InvalidArgument when the file holds no images, or more than ``name`` can name; otherwise
    as ``pull`` does.
    """
    cancellation = cancellation or Cancellation()
    wanted = platform or this_platform()
    with disk_failures(store.root), store.pulling(cancellation), store.workspace() as workspace:
        parts = opened_parts(file, workspace, cancellation)
        found = [*_images(parts, wanted, file.name)]
        if not found:
            raise InvalidArgument("the archive holds no image: choose another file", str(file))
        if name is not None and len(found) > 1:
            raise InvalidArgument(
                f"the archive holds {len(found)} images, which cannot have one name: load it "
                "without a name",
                str(file),
            )
        reporter = Reporter(on_progress)
        return [
            _load(each, parts, store, file.name, make_runnable, reporter, cancellation, name)
            for each in found
        ]


def _load(
    found: _Found,
    parts: Parts,
    store: ImageStore,
    origin: str,
    make_runnable: MakeRunnable,
    reporter: Reporter,
    cancellation: Cancellation,
    name: Reference | None,
) -> StoredImage:
    def get_layer(
        descriptor: Descriptor, _: Path, on_bytes: OnBytes
    ) -> Generator[bytes, None, None]:
        for chunk in parts.chunks(found.layer_files[descriptor.digest]):
            on_bytes(len(chunk))
            yield chunk

    assembly = Assembly(
        store=store,
        get_layer=get_layer,
        make_runnable=make_runnable,
        reporter=reporter,
        cancellation=cancellation,
    )
    image = assembly.image(found.manifest, found.config, origin)
    for each in (*found.names, *([name] if name else [])):
        store.remember(each, image.digest)
    return store.by_digest(image.digest) or image


def _images(parts: Parts, wanted: Platform, origin: str) -> Iterator[_Found]:
    if parts.has(_LAYOUT_FILE) and parts.has(_INDEX_FILE):
        yield from _layout_images(parts, wanted, origin)
    elif parts.has(_DOCKER_FILE):
        yield from _docker_images(parts, wanted, origin)


def _layout_images(parts: Parts, wanted: Platform, origin: str) -> Iterator[_Found]:
    listed = read_index(parts.small(_INDEX_FILE, MAX_MANIFEST_BYTES), None)
    if listed is None:
        raise corrupt("index", f"{_INDEX_FILE} lists no manifests")
    # Entries with one name, or without any, are the same image for several platforms.
    ordered = sorted(listed, key=lambda each: each.reference or "")
    for _, group in groupby(ordered, key=lambda each: each.reference):
        entries = [*group]
        separate = entries if all(each.platform is None for each in entries) else [entries[0]]
        for each in separate:
            among = [each] if len(separate) > 1 else entries
            manifest = _manifest_in(parts, among, wanted, origin)
            config = read_config(_blob(parts, manifest.config, MAX_CONFIG_BYTES))
            _check_platform(config, wanted, origin)
            yield _Found(
                manifest=manifest,
                config=config,
                names=_names([each.reference]),
                layer_files={layer.digest: _blob_file(layer) for layer in manifest.layers},
            )


def _manifest_in(parts: Parts, listed: list[Listed], wanted: Platform, origin: str) -> Manifest:
    """Return the manifest for a platform; an index may list further ones."""
    among = tuple(listed)
    for _ in range(_MAX_DEPTH):
        descriptor = manifest_for(among, wanted, origin).descriptor
        content = _blob(parts, descriptor, MAX_MANIFEST_BYTES)
        inner = read_index(content, descriptor.media_type)
        if inner is None:
            return read_manifest(content, descriptor.digest)
        among = inner
    raise corrupt("index", "it lists indexes that list indexes")


def _docker_images(parts: Parts, wanted: Platform, origin: str) -> Iterator[_Found]:
    """Yield the images of ``docker save``: the configuration's digest is all that names them."""
    try:
        entries: Any = json.loads(parts.small(_DOCKER_FILE, MAX_MANIFEST_BYTES))
    except (ValueError, RecursionError) as error:
        raise corrupt("manifest", str(error)) from error
    for entry in entries if isinstance(entries, list) else [None]:
        config_file, layers, tags = _docker_entry(entry)
        content = parts.small(config_file, MAX_CONFIG_BYTES)
        config = read_config(content)
        _check_platform(config, wanted, origin)
        if len(config.diff_ids) != len(layers):
            raise corrupt("manifest", "it and the configuration have different numbers of layers")
        digest = digest_of(content)
        # The layers are not compressed: the digest of the content is that of the file.
        files = dict(zip(config.diff_ids, layers, strict=True))
        yield _Found(
            manifest=Manifest(
                digest=digest,
                config=Descriptor(media_type="", digest=digest, size=len(content)),
                layers=tuple(
                    Descriptor(media_type="", digest=diff_id, size=parts.size(files[diff_id]))
                    for diff_id in config.diff_ids
                ),
            ),
            config=config,
            names=_names(tags),
            layer_files=files,
        )


def _docker_entry(entry: Any) -> tuple[str, list[str], list[Any]]:
    """Return the names of the files with the configuration and the layers, and the tags."""
    kept = entry if isinstance(entry, dict) else {}
    config, layers, tags = (kept.get(key) for key in ("Config", "Layers", "RepoTags"))
    if isinstance(config, str) and isinstance(layers, list):
        names = [each for each in layers if isinstance(each, str)]
        return config, names, tags if isinstance(tags, list) else []
    raise corrupt("manifest", f"{_DOCKER_FILE} is not as docker save writes it")


def _check_platform(config: ImageConfig, wanted: Platform, origin: str) -> None:
    if choose([config.platform], wanted) is None:
        raise no_such_platform(origin, wanted, [str(config.platform)])


def _blob_file(descriptor: Descriptor) -> str:
    return f"blobs/sha256/{descriptor.digest.removeprefix('sha256:')}"


def _blob(parts: Parts, descriptor: Descriptor, limit: int) -> bytes:
    content = parts.small(_blob_file(descriptor), limit)
    if digest_of(content) != descriptor.digest:
        raise corrupt("archive", f"a file does not have the digest {descriptor.digest}")
    return content


def _names(names: list[Any]) -> tuple[Reference, ...]:
    """Return the names that are references; a layout may have a tag alone."""
    found = []
    for name in names:
        if isinstance(name, str) and re.search(r"[:/@]", name):
            try:
                found.append(parse_reference(name))
            except InvalidArgument:
                continue
    return tuple(found)
