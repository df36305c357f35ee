"""Files as they were when they were read, and what is remembered of them."""

import os
import time

import pytest

from sqlrs_engine.errors import Conflict, InvalidArgument
from sqlrs_engine.prepare import file_reads
from sqlrs_engine.prepare.file_reads import FileDigests, FileMemory, FileRead, check_readable


class Lengths:
    """Remembers how long files are, and how often that was looked up."""

    def __init__(self):
        self.count = 0
        self.memory = FileMemory(self._length)

    def _length(self, file, read):
        self.count += 1
        return len(file.read())

    def of(self, path):
        return self.memory.read(path)[0]


@pytest.fixture
def lengths():
    return Lengths()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("1\n")
    return path


@pytest.fixture
def settled(monkeypatch):
    """Let files count as settled as soon as they are written."""
    monkeypatch.setattr(file_reads, "SETTLED_NS", -(10**18))


def test_an_unchanged_file_is_read_once(lengths, path, settled):
    assert [lengths.of(path), lengths.of(path)] == [2, 2]
    assert lengths.count == 1


def test_a_changed_file_is_read_again(lengths, path, settled):
    lengths.of(path)
    path.write_text("12\n")
    assert lengths.of(path) == 3


def test_a_file_that_only_looks_unchanged_is_read_again(path, settled):
    digests = FileDigests()
    first, _ = digests.digest(path)
    before = path.stat()
    path.write_text("2\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digests.digest(path)[0] != first


def test_a_file_changed_just_now_is_not_remembered(lengths, path):
    lengths.of(path)
    lengths.of(path)
    assert lengths.count == 2


def test_a_file_that_has_settled_is_remembered(lengths, path, monkeypatch):
    later = time.time_ns() + 2_000_000_000
    monkeypatch.setattr(file_reads.time, "time_ns", lambda: later)
    lengths.of(path)
    lengths.of(path)
    assert lengths.count == 1


def test_the_files_read_longest_ago_are_forgotten(lengths, tmp_path, settled, monkeypatch):
    monkeypatch.setattr(file_reads, "REMEMBERED", 2)
    paths = [tmp_path / f"{number}.csv" for number in range(3)]
    for path in paths:
        path.write_text("")
        lengths.of(path)
    assert lengths.count == 3
    lengths.of(paths[2])
    lengths.of(paths[1])
    assert lengths.count == 3
    lengths.of(paths[0])
    assert lengths.count == 4


def test_a_change_after_the_reading_is_noticed(path):
    read, read_at = FileRead.now(path), path.stat().st_mtime_ns
    assert read.unchanged()
    assert read.read_again() == b"1\n"
    path.write_text("2\n")
    later = read_at + 1_000_000_000
    os.utime(path, ns=(later, later))
    assert not read.unchanged()
    with pytest.raises(Conflict):
        read.read_again()
    path.unlink()
    assert not read.unchanged()
    with pytest.raises(InvalidArgument):
        read.read_again()


def test_only_regular_files_can_be_read(tmp_path, path):
    check_readable(str(path))
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("absent", ""), ("", ": it is a directory"), ("pipe", ": it is not")):
        with pytest.raises(InvalidArgument, match="cannot read file") as caught:
            check_readable(str(tmp_path / name))
        assert reason in str(caught.value.details)
