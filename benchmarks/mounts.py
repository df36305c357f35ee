"""Loop-mounted filesystems to measure on; needs root and the mkfs programs."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

KINDS: dict[str, Sequence[str]] = {
    "ext4": ("mkfs.ext4", "-q"),
    "xfs": ("mkfs.xfs", "-q", "-m", "reflink=1"),
    "btrfs": ("mkfs.btrfs", "-q"),
}
IMAGE_BYTES = 12 << 30  # sparse; room for some copies of 1 GB


@contextmanager
def loop_mount(kind: str) -> Iterator[Path]:
    """Make and mount a filesystem of this kind in a sparse file; unmount and delete it after."""
    directory = Path(tempfile.mkdtemp(prefix=f"sqlrs-benchmark-{kind}-"))
    image, mountpoint = directory / "image", directory / "mnt"
    mountpoint.mkdir()
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    try:
        subprocess.run([*KINDS[kind], str(image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(mountpoint)], check=True)
        try:
            yield mountpoint
        finally:
            subprocess.run(["umount", str(mountpoint)], check=True)
    finally:
        image.unlink()
        mountpoint.rmdir()
        directory.rmdir()


def mount_all(stack: ExitStack) -> dict[str, Path]:
    """Mount one filesystem of every kind this machine can make; says which it can't."""
    if os.geteuid() != 0:
        raise SystemExit("--mounts needs root: give directories by --store-dir instead")
    mounted = {}
    for kind, command in KINDS.items():
        if shutil.which(command[0]) is None:
            print(f"note: no {command[0]} here, so nothing is measured on {kind}")
            continue
        mounted[f"{kind}, loop-mounted"] = stack.enter_context(loop_mount(kind))
    return mounted
