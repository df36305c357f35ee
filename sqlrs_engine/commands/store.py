"""``store create``: put the state store on a copy-on-write filesystem in a file."""

import argparse
import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlrs_engine.errors import Conflict, EngineError, InvalidArgument

from . import SUCCESS
from .doctor import existing
from .ls import size
from .terminal import Terminal, add_state_dir, places

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>[KMGT]?)(?:I?B)?", re.IGNORECASE)

_DESCRIPTION = """\
Put the state store on a filesystem where a clone of a database shares its blocks with the
original. A clone then takes milliseconds and no space, however large the database. Use this
on ext4 and other filesystems where a clone is a full copy; `sqlrs-engine doctor` reports
which you have.

The filesystem is in one sparse file beside the state store, which takes only the space used
in it. The command needs root. Stop the engine and empty the state store first. The command
prints how to remove the filesystem.
"""
_EXAMPLES = """\
examples:
  sudo sqlrs-engine store create --size 20G
  sudo sqlrs-engine store create --size 20G --fs xfs --path /srv/sqlrs
  SQLRS_STATE_STORE=/srv/sqlrs sqlrs-engine serve
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A filesystem that shares blocks. ``least`` is its minimum size in bytes."""

    name: str
    mkfs: Sequence[str]
    package: str
    options: str
    least: int


KINDS = {
    kind.name: kind
    for kind in (
        # Without the last option only root may delete a snapshot.
        Kind(
            "btrfs",
            ("mkfs.btrfs", "-q"),
            "btrfs-progs",
            "loop,noatime,user_subvol_rm_allowed",
            128 * 2**20,
        ),
        Kind("xfs", ("mkfs.xfs", "-q", "-m", "reflink=1"), "xfsprogs", "loop,noatime", 300 * 2**20),
    )
}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("store", help="put the state store on a copy-on-write filesystem")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser(
        "create",
        help="make a filesystem in a file and mount it at the state store (as root)",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    create.add_argument(
        "--size", required=True, metavar="SIZE", help="maximum size of the filesystem, such as 20G"
    )
    create.add_argument(
        "--fs", choices=tuple(KINDS), default="btrfs", help="default: btrfs, the fastest"
    )
    create.add_argument(
        "--path",
        type=Path,
        metavar="DIR",
        help=(
            "where to mount it (default: the state store, $SQLRS_STATE_STORE or in the state "
            "directory); the file is DIR.img"
        ),
    )
    add_state_dir(create)
    create.set_defaults(run=run_create)


def run_create(args: argparse.Namespace, terminal: Terminal) -> int:
    """Make and mount the filesystem; print how to keep and how to remove it."""
    kind = KINDS[args.fs]
    wanted = parse_size(args.size)
    store: Path = (args.path or places(args.state_dir, terminal.environ).store).absolute()
    image = store.with_name(f"{store.name}.img")
    check(kind, wanted, store, image, search_path=terminal.environ.get("PATH", ""))
    free = shutil.disk_usage(existing(store)).free
    if free < wanted:
        terminal.report(
            f"warning: the disk of the file has {size(free)} free, less than {size(wanted)}: "
            "it can fill up before the filesystem does"
        )
    create(kind, wanted, store, image)
    terminal.print(
        f"made {kind.name} of {size(wanted)} at {store}, in {image}",
        "",
        "to mount it at every boot, add this line to /etc/fstab:",
        fstab_line(kind, store, image),
        "",
        "to remove it with all its states and instances, stop the engine, then run:",
        f"umount {store} && rm {image}",
    )
    return SUCCESS


def parse_size(text: str) -> int:
    """Return the bytes of a size such as ``20G`` or ``512MiB``; units are powers of 1024.

    Raises InvalidArgument.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidArgument("invalid --size", f"{text}: write a number and a unit, such as 20G")
    return int(float(match["number"]) * _UNITS[match["unit"].upper()])


def check(kind: Kind, wanted: int, store: Path, image: Path, *, search_path: str) -> None:
    """Check that the filesystem can be made; changes nothing.

    Raises InvalidArgument when it would be too small; Conflict when there is one already,
    when the store is in use, or not empty; EngineError without root or ``mkfs``.
    """
    if wanted < kind.least:
        raise InvalidArgument(
            "--size is too small", f"{kind.name} needs at least {size(kind.least)}"
        )
    if os.geteuid() != 0:
        raise EngineError("only root can make and mount a filesystem", "use sudo")
    for program, package in ((kind.mkfs[0], kind.package), ("mount", "mount")):
        if shutil.which(program, path=search_path) is None:
            raise EngineError(f"{program} is not installed", f"install the package {package}")
    if store.is_mount():
        raise Conflict(
            "the state store is already a filesystem: unmount it, or choose another --path",
            f"{store} is a mount point",
        )
    if image.exists():
        raise Conflict(
            "the image file exists already: mount it, or delete it to start over",
            f"mount -o {kind.options} {image} {store}",
        )
    if store.is_dir():
        _refuse_in_use(store)
        if any(store.iterdir()):
            raise Conflict(
                "the state store is not empty: move it away, or choose another --path",
                f"{store}: remove its contents (sqlrs-engine rm) and stop the engine before you "
                "move the directory",
            )
    elif store.exists():
        raise Conflict(
            "the state store is not a directory: move it away, or choose another --path", str(store)
        )


def _refuse_in_use(store: Path) -> None:
    from sqlrs_engine.daemon.store_lock import StoreLock

    path = store / "engine.lock"
    if path.exists():
        lock = StoreLock(path)
        lock.acquire()
        lock.release()


def create(kind: Kind, wanted: int, store: Path, image: Path) -> None:
    """Make the image, its filesystem, and mount it; leave nothing behind on failure.

    The store belongs to the owner of the directory it is made in. Raises EngineError with the
    output of the program that failed, OSError.
    """
    owner = existing(store).stat()
    with contextlib.ExitStack() as undo:
        for directory in reversed([store, *store.parents]):
            if not directory.exists():
                directory.mkdir(mode=0o700)
                undo.callback(directory.rmdir)
                os.chown(directory, owner.st_uid, owner.st_gid)
        with os.fdopen(os.open(image, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)) as file:
            undo.callback(image.unlink)
            os.truncate(file.fileno(), wanted)
        _run(*kind.mkfs, str(image))
        _run("mount", "-t", kind.name, "-o", kind.options, str(image), str(store))
        undo.callback(_run, "umount", str(store))
        store.chmod(0o700)
        os.chown(store, owner.st_uid, owner.st_gid)
        undo.pop_all()


def fstab_line(kind: Kind, store: Path, image: Path) -> str:
    """Return the line of /etc/fstab (fstab(5): spaces and the like are written in octal)."""
    escaped = (
        re.sub(r"[\s\\#]", lambda found: f"\\{ord(found[0]):03o}", str(path))
        for path in (image, store)
    )
    return f"{' '.join(escaped)} {kind.name} {kind.options},nofail 0 0"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EngineError(f"{command[0]} failed", done.stderr.strip() or done.stdout.strip())
