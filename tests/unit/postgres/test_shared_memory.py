"""What a killed server leaves is recognised by its marks, and nothing else is touched."""

import ctypes
import logging
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sqlrs_engine.postgres import shared_memory
from sqlrs_engine.postgres.shared_memory import release

MAGIC, CONTROL_MAGIC = 679834894, 0x9A503D32
CREATE, REMOVE = 0o1600, 0
MakeSegment = Callable[..., int]


def exists(segment: int) -> bool:
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return str(segment) in {line.split()[1] for line in lines}


def header(data_dir: Path, *, magic: int = MAGIC, control: int = 1, inode: int = 0) -> bytes:
    status = data_dir.stat()
    place = (status.st_dev, inode or status.st_ino)
    return struct.pack("=iiQQI4xQQQ", magic, 7, 56, 56, control, 0, *place)


def control(*items: tuple[int, int], magic: int = CONTROL_MAGIC, count: int | None = None) -> bytes:
    start = struct.pack("=III4x", magic, len(items) if count is None else count, 100)
    return start + b"".join(struct.pack("=IIQQQ8x", *item, 0, 0, 0) for item in items)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir()
    return directory


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for /dev/shm."""
    directory = tmp_path / "shm"
    directory.mkdir()
    monkeypatch.setattr(shared_memory, "DEVICE_DIR", directory)
    for handle in range(1, 5):
        (directory / f"PostgreSQL.{handle}").touch()
    return directory


@pytest.fixture
def make_segment() -> Iterator[MakeSegment]:
    """Make System V segments as a server does."""
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
    made = []

    def make(content: bytes) -> int:
        segment: int = libc.shmget(0, len(content), CREATE)
        assert segment >= 0
        made.append(segment)
        address = libc.shmat(segment, None, 0)
        ctypes.memmove(address, content, len(content))
        libc.shmdt(ctypes.c_void_p(address))
        return segment

    yield make
    for segment in made:
        libc.shmctl(segment, REMOVE, None)


def names(device: Path) -> set[int]:
    return {int(each.suffix[1:]) for each in device.iterdir()}


def test_all_shared_memory_of_a_dead_server_is_removed(
    data_dir: Path, device: Path, make_segment: MakeSegment
) -> None:
    (device / "PostgreSQL.1").write_bytes(control((2, 1), (3, 0), (999, 2)))
    segment = make_segment(header(data_dir))
    release(data_dir, segment)
    assert not exists(segment)
    assert names(device) == {3, 4}  # 3 was given back before
    release(data_dir, segment)


@pytest.mark.parametrize("marks", [{"magic": 1}, {"inode": 12}])
def test_a_segment_of_another_server_stays(
    data_dir: Path, device: Path, make_segment: MakeSegment, marks: dict[str, int]
) -> None:
    segment = make_segment(header(data_dir, **marks))
    release(data_dir, segment)
    assert exists(segment)
    assert names(device) == {1, 2, 3, 4}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        control((2, 1), magic=1),
        control((2, 1), count=2),
        control((2, 1), count=2**32 - 1),
    ],
)
def test_a_damaged_control_segment_is_not_followed(
    data_dir: Path, device: Path, make_segment: MakeSegment, content: bytes
) -> None:
    (device / "PostgreSQL.1").write_bytes(content)
    release(data_dir, make_segment(header(data_dir)))
    assert names(device) == {2, 3, 4}


def test_a_server_without_a_control_segment_loses_its_system_v_segment(
    data_dir: Path, device: Path, make_segment: MakeSegment
) -> None:
    segment = make_segment(header(data_dir, control=77))
    release(data_dir, segment)
    assert not exists(segment)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_segments_of_other_users_stay_whatever_the_server_wrote(
    data_dir: Path, device: Path, make_segment: MakeSegment
) -> None:
    (device / "PostgreSQL.1").write_bytes(control((2, 1), (3, 1)))
    os.chown(device / "PostgreSQL.2", 54321, 54321)
    release(data_dir, make_segment(header(data_dir)))
    assert names(device) == {2, 4}
    (device / "PostgreSQL.1").write_bytes(control((4, 1)))
    os.chown(device / "PostgreSQL.1", 54321, 54321)
    release(data_dir, make_segment(header(data_dir)))
    assert names(device) == {1, 2, 4}


def test_a_link_in_the_place_of_a_segment_is_not_followed(
    data_dir: Path, device: Path, make_segment: MakeSegment, caplog: pytest.LogCaptureFixture
) -> None:
    (device / "PostgreSQL.1").unlink()
    (device / "PostgreSQL.4").write_bytes(control((2, 1)))
    (device / "PostgreSQL.1").symlink_to(device / "PostgreSQL.4")
    with caplog.at_level(logging.WARNING):
        release(data_dir, make_segment(header(data_dir)))
    assert "cannot remove the shared memory" in caplog.text
    assert names(device) == {1, 2, 3, 4}


def test_the_shared_memory_of_a_missing_data_directory_stays(
    data_dir: Path, make_segment: MakeSegment
) -> None:
    segment = make_segment(header(data_dir))
    data_dir.rmdir()
    release(data_dir, segment)
    assert exists(segment)
