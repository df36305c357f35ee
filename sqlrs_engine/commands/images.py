"""``postgres pull``, ``load``, ``rm`` and ``gc``: images of registries; they need no engine."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlrs_engine.errors import Conflict, InvalidArgument, NotFound

from . import BLOCKED, SUCCESS
from .interruption import interruptible
from .ls import size
from .pull_progress import pull_progress
from .terminal import Places, Terminal, add_state_dir, places

if TYPE_CHECKING:
    from sqlrs_engine.postgres.distributions.stored_images import StoredImages
    from sqlrs_engine.postgres.images.image_store import StoredImage

_MIN_DIGITS = 8


def add_actions(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the actions to the command ``postgres``."""
    pull = _add(
        actions,
        "pull",
        run_pull,
        help="pull an image from a registry",
        description=(
            "Pull an image from its registry and unpack it, for all of your state stores. A\n"
            "prepare does this by itself when it needs an image that is not here. The tag is\n"
            "looked up each time; layers that are here are not downloaded again.\n\n"
            "Credentials are those of docker login, podman login and skopeo login."
        ),
        epilog="examples:\n"
        "  sqlrs-engine postgres pull postgis/postgis:17-3.5\n"
        "  sqlrs-engine postgres pull ghcr.io/owner/postgres@sha256:…\n"
        "  sqlrs-engine prepare --image postgis/postgis:17-3.5 -- -f schema.sql",
    )
    pull.add_argument("image", metavar="IMAGE", help="an image that docker run takes")
    load = _add(
        actions,
        "load",
        run_load,
        help="load an image from a file",
        description=(
            "Unpack an image from the output of docker save or podman save, or from an OCI layout\n"
            "(a tar file or a directory), for machines that reach no registry."
        ),
        epilog="examples:\n"
        "  docker save postgis/postgis:17-3.5 -o postgis.tar\n"
        "  sqlrs-engine postgres load postgis.tar\n"
        "  sqlrs-engine postgres load --name mine/postgres:1 image.tar",
    )
    load.add_argument("--name", metavar="IMAGE", help="name the image, if the file does not")
    load.add_argument("file", metavar="FILE", type=Path, help="a tar file or a directory")
    remove = _add(
        actions,
        "rm",
        run_rm,
        help="remove an image that was pulled or loaded",
        description=(
            "Remove an image and the layers that no other image uses. An image with several tags\n"
            "only loses the given one. An image that states of the state store were made with is\n"
            "kept: without it, their instances cannot be started."
        ),
        epilog="examples:\n"
        "  sqlrs-engine postgres rm postgis/postgis:17-3.5\n"
        "  sqlrs-engine postgres rm sha256:4f9c01d2aa",
    )
    remove.add_argument("images", metavar="IMAGE|DIGEST", nargs="+", help="what to remove")
    remove.add_argument("--force", action="store_true", help="remove it even if states need it")
    collect = _add(
        actions,
        "gc",
        run_gc,
        help="free the disk space that no image uses",
        description="Remove layers that no image uses, and what interrupted pulls have left.",
        epilog="examples:\n  sqlrs-engine postgres gc\n  sqlrs-engine postgres gc --unused",
    )
    collect.add_argument(
        "--unused",
        action="store_true",
        help="also remove the images that no state of the state store was made with",
    )


def _add(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace, Terminal], int],
    *,
    help: str,
    description: str,
    epilog: str,
) -> argparse.ArgumentParser:
    parser = actions.add_parser(
        name,
        help=help,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_state_dir(parser)
    parser.set_defaults(run=run)
    return parser


def run_pull(args: argparse.Namespace, terminal: Terminal) -> int:
    """Pull an image; a running engine finds it at once."""
    from sqlrs_engine.postgres.images.references import parse_reference

    reference = parse_reference(args.image)
    images = _images(places(args.state_dir, terminal.environ), terminal)
    with (
        interruptible(terminal, "pull") as cancellation,
        pull_progress(terminal, f"pulling {reference.familiar}") as on_progress,
    ):
        image = images.fetch(reference, on_progress, cancellation)
    _print_image(image, reference.familiar, terminal)
    return SUCCESS


def run_load(args: argparse.Namespace, terminal: Terminal) -> int:
    """Load the images of a file."""
    from sqlrs_engine.postgres.images.references import parse_reference

    name = parse_reference(args.name) if args.name else None
    images = _images(places(args.state_dir, terminal.environ), terminal)
    with (
        interruptible(terminal, "load") as cancellation,
        pull_progress(terminal, f"loading {args.file.name}") as on_progress,
    ):
        loaded = images.load(terminal.cwd / args.file, name, on_progress, cancellation)
    for image in loaded:
        _print_image(image, next(iter(image.references), "an image without a name"), terminal)
    return SUCCESS


def run_rm(args: argparse.Namespace, terminal: Terminal) -> int:
    """Remove images; the exit code is BLOCKED when one of them is needed."""
    where = places(args.state_dir, terminal.environ)
    images = _images(where, terminal)
    # All are looked up first, so that a mistyped one removes nothing.
    for text in args.images:
        _existing(images, text)
    kept = [text for text in args.images if not _remove(images, text, where, args, terminal)]
    return BLOCKED if kept else SUCCESS


def _remove(
    images: "StoredImages", text: str, where: Places, args: argparse.Namespace, terminal: Terminal
) -> bool:
    """Remove an image or one of its tags; return whether it is gone."""
    image = _find(images, text)
    if image is None:
        return True  # it had two names
    if _untagged(images, text, image):
        terminal.print(f"{text}: removed; the image has other tags")
        return True
    use = "" if args.force else _use(where, image)
    if use:
        terminal.report(
            f"{text}: kept: {use}; remove what needs it first (sqlrs-engine rm), or add --force: "
            "then no instance of it can be started"
        )
        return False
    collected = images.store.remove(image.digest)
    terminal.print(f"{text}: removed, {size(collected.freed_bytes)} freed")
    return True


def run_gc(args: argparse.Namespace, terminal: Terminal) -> int:
    """Remove what nothing uses."""
    where = places(args.state_dir, terminal.environ)
    images = _images(where, terminal)
    freed = 0
    if args.unused:
        for image in images.store.images():
            if not _use(where, image):
                freed += images.store.remove(image.digest).freed_bytes
                terminal.print(f"{next(iter(image.references), image.digest)}: removed")
    collected = images.store.collect()
    if collected is None:
        raise Conflict("a pull is under way: try again when it has ended")
    terminal.print(
        f"removed {_count(collected.layers, 'layer')} and "
        f"{_count(collected.downloads, 'incomplete download')}: "
        f"{size(freed + collected.freed_bytes)} freed"
    )
    return SUCCESS


def _images(where: Places, terminal: Terminal) -> "StoredImages":
    from sqlrs_engine.engine.offline import stored

    return stored(where.images, where.store, terminal.environ)


def _print_image(image: "StoredImage", name: str, terminal: Terminal) -> None:
    from sqlrs_engine.postgres.distributions.distribution import image_id_of

    terminal.print(
        f"{name}: PostgreSQL {image.programs.version}, {len(image.programs.extensions)} "
        f"extensions, {size(image.size_bytes)}",
        f"digest: {image.digest}",
    )
    if not image.references:
        terminal.print(f"prepare with --image {image_id_of(image.digest)}, or load it with --name")


def _existing(images: "StoredImages", text: str) -> "StoredImage":
    image = _find(images, text)
    if image is None:
        raise NotFound("no such image", f"{text}: see sqlrs-engine postgres list")
    return image


def _find(images: "StoredImages", text: str) -> "StoredImage | None":
    """Return the image with this reference, or this digest or the first digits of it.

    Raises InvalidArgument if it is ambiguous, or neither.
    """
    from sqlrs_engine.postgres.distributions.distribution import image_id_of
    from sqlrs_engine.postgres.images.references import parse_reference

    digits = text.removeprefix("sha256:")
    found = [
        each
        for each in images.store.images()
        if image_id_of(each.digest) == text
        or (len(digits) >= _MIN_DIGITS and each.digest.startswith(f"sha256:{digits}"))
    ]
    if len(found) > 1:
        raise InvalidArgument(f"{text} is ambiguous: give more digits")
    if found or text.startswith("sha256:"):
        return next(iter(found), None)
    return images.store.find(parse_reference(text))


def _untagged(images: "StoredImages", text: str, image: "StoredImage") -> bool:
    """Remove a tag from an image that has others; return whether that was so."""
    from sqlrs_engine.postgres.images.references import parse_reference

    tags = [name for name in map(parse_reference, image.references) if name.digest is None]
    wanted = [name for name in tags if text in (name.familiar, str(name))]
    if len(tags) < 2 or not wanted:
        return False
    images.store.forget(wanted[0])
    return True


def _use(where: Places, image: "StoredImage") -> str:
    """Return what needs an image, an empty text if nothing does.

    A running engine knows its jobs and instances; without one, the states on disk are counted.
    """
    from sqlrs_engine.client.engine_client import EngineClient, find
    from sqlrs_engine.engine.offline import states_of
    from sqlrs_engine.postgres.distributions.distribution import image_id_of

    image_id = image_id_of(image.digest)
    counts = {"state": states_of(where.store, image_id)}
    record = find(where.engine_file)
    if record is not None:
        with EngineClient(record.base_url, record.auth_token) as engine:
            counts["state"] = len(engine.get("/states", image=image_id))
            counts["instance"] = len(engine.get("/instances", image=image_id))
            counts["unfinished job"] = sum(
                job["status"] in ("queued", "running") and job.get("resolved_image_id") == image_id
                for job in engine.get("/prepare-jobs")
            )
    texts = [_count(count, noun) for noun, count in counts.items() if count]
    verb = "needs" if sum(counts.values()) == 1 else "need"
    return f"{' and '.join(texts)} of {where.store} {verb} it" if texts else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
