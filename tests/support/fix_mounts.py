"""Fixtures: filesystems of every kind, in loop-mounted files; skipped where that takes root."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MIB = 1024 * 1024
# The smallest that each program agrees to make, with room for some clusters.
MAKE = {
    "xfs": (("mkfs.xfs", "-q", "-m", "reflink=1"), 400 * MIB),
    "btrfs": (("mkfs.btrfs", "-q"), 400 * MIB),
    "ext4": (("mkfs.ext4", "-q", "-m", "0"), 40 * MIB),
}


@contextlib.contextmanager
def mounted(kind: str) -> Iterator[Path]:
    """Mount a new filesystem; unmount and delete it after, whatever happens."""
    (program, *arguments), size = MAKE[kind]
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    with contextlib.ExitStack() as cleanup:
        directory = Path(tempfile.mkdtemp(prefix=f"sqlrs-{kind}-"))
        cleanup.callback(shutil.rmtree, directory, ignore_errors=True)
        image, root = directory / "image", directory / "root"
        root.mkdir()
        with image.open("wb") as file:
            file.truncate(size)
        _run(program, *arguments, str(image))
        _run("mount", "-o", "loop", str(image), str(root))
        # Before the files are deleted; lazily, so that a forgotten process cannot keep it.
        cleanup.callback(_unmount, root)
        directory.chmod(0o755)
        yield root


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"{command[0]} failed: {done.stderr.strip()}")


def _unmount(root: Path) -> None:
    command = ["umount", str(root)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        subprocess.run([*command, "--lazy"], check=True)


@pytest.fixture(scope="session")
def xfs_root() -> Iterator[Path]:
    """An XFS with reflinks, shared by the session's tests."""
    with mounted("xfs") as root:
        yield root


@pytest.fixture(scope="session")
def btrfs_root() -> Iterator[Path]:
    """A btrfs, shared by the session's tests."""
    with mounted("btrfs") as root:
        yield root


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """An ext4 of 40 MiB, the test's own."""
    with mounted("ext4") as root:
        yield root
