"""Pulls of images from registries."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from sqlrs_engine.processes.cancellation import Cancellation

from .assembly import Assembly, MakeRunnable
from .credentials import Credentials
from .downloads import downloaded
from .image_store import ImageStore, StoredImage, disk_failures
from .manifests import (
    MAX_CONFIG_BYTES,
    ImageConfig,
    Manifest,
    manifest_for,
    no_such_platform,
    read_config,
    read_index,
    read_manifest,
)
from .platforms import Platform, choose, this_platform
from .progress import OnProgress, Reporter, ignore
from .references import DEFAULT_TAG, Reference
from .registry import RegistryClient
from .registry_hosts import RegistrySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAccess:
    """How registries are reached: the settings of each host, and the user's credentials."""

    registries: Mapping[str, RegistrySettings] = field(default_factory=dict)
    credentials: Credentials = field(default_factory=lambda: Credentials({}))


def pull(
    reference: Reference,
    store: ImageStore,
    access: RegistryAccess,
    *,
    make_runnable: MakeRunnable,
    on_progress: OnProgress = ignore,
    cancellation: Cancellation | None = None,
    platform: Platform | None = None,
) -> StoredImage:
    """Return the image that the registry has for a reference, pulled unless it is here.

    From then on, the reference means this image in the store. Any number may pull at once, also in
    other processes. ``platform`` is a seam for tests.

    Raises ImageUnavailable when there is no such image, or none for this machine; ImageCorrupt when
    a digest is wrong; RegistryUnauthorized, RegistryUnavailable; ImageUnusable, as
    ``make_runnable`` does; StorageFull; Conflict and Unavailable when the store cannot be used;
    what ends ``cancellation``. Nothing is kept then but layers and parts of layers whose download
    need not be repeated.
    """
    cancellation = cancellation or Cancellation()
    reporter = Reporter(on_progress)
    with (
        disk_failures(store.root),
        store.pulling(cancellation),
        RegistryClient(reference, access.registries, access.credentials, cancellation) as registry,
    ):
        reporter.phase("resolving")
        there = _unchanged(reference, store, registry)
        if there is not None:
            return there
        wanted = platform or this_platform()
        manifest, named = _manifest(reference, registry, wanted)
        image = store.by_digest(manifest.digest)
        if image is None:
            config = _config(reference, registry, manifest, wanted)
            assembly = Assembly(
                store=store,
                get_layer=partial(downloaded, registry),
                make_runnable=make_runnable,
                reporter=reporter,
                cancellation=cancellation,
            )
            image = assembly.image(manifest, config, reference.registry)
        for each in (reference, replace(reference, tag=None, digest=named)):
            store.remember(each, image.digest)
        return store.by_digest(image.digest) or image


def _unchanged(
    reference: Reference, store: ImageStore, registry: RegistryClient
) -> StoredImage | None:
    """Return the image of a tag that means here what it means in the registry, else None.

    This costs no download, and some registries do not count it as a pull.
    """
    here = store.find(reference)
    if here is None or reference.digest is not None:
        return here
    digest = registry.current_digest(reference.tag or DEFAULT_TAG)
    if digest is None:
        return None
    there = store.find(replace(reference, tag=None, digest=digest))
    if there is not None and there.digest != here.digest:
        store.remember(reference, there.digest)
    return there


def _manifest(
    reference: Reference, registry: RegistryClient, wanted: Platform
) -> tuple[Manifest, str]:
    """Return the manifest for a platform, and the digest of what the reference names."""
    name = reference.digest or reference.tag or DEFAULT_TAG
    content, kind, named = registry.manifest(name, reference.digest)
    listed = read_index(content, kind)
    if listed is None:
        return read_manifest(content, named), named
    digest = manifest_for(listed, wanted, reference.familiar).descriptor.digest
    content, _, _ = registry.manifest(digest, digest)
    return read_manifest(content, digest), named


def _config(
    reference: Reference, registry: RegistryClient, manifest: Manifest, wanted: Platform
) -> ImageConfig:
    config = read_config(registry.small_blob(manifest.config, MAX_CONFIG_BYTES))
    if choose([config.platform], wanted) is None:
        raise no_such_platform(reference.familiar, wanted, [str(config.platform)])
    return config
