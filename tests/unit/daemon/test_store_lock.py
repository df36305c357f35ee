"""The store's lock: one holder, never stale, tells who holds it."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sqlrs_engine.daemon import store_lock
from sqlrs_engine.daemon.store_lock import StoreLock
from sqlrs_engine.errors import Conflict, StoreDamaged


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "engine.lock"


def is_held(path: Path) -> bool:
    store_lock = StoreLock(path)
    try:
        store_lock.acquire()
    except Conflict:
        return True
    store_lock.release()
    return False


def test_a_second_one_is_told_who_holds_it(path: Path) -> None:
    first = StoreLock(path)
    first.acquire()
    first.announce_ready()
    with pytest.raises(Conflict, match=rf"held by pid {os.getpid()} since 2\d\d\d-"):
        StoreLock(path).acquire(patience=30, start_patience=30)
    first.release()


def test_a_holder_that_starts_is_waited_for_until_it_is_ready(path: Path) -> None:
    first, second = StoreLock(path), StoreLock(path)
    first.acquire()
    errors = []

    def wait() -> None:
        try:
            second.acquire(start_patience=60)
        except Conflict as error:
            errors.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    waiter.join(0.2)
    assert waiter.is_alive()
    first.announce_ready()
    waiter.join(60)
    assert len(errors) == 1
    first.release()


@pytest.mark.parametrize("text", ["", json.dumps({"pid": 2**22 + 1, "startedAt": "before"})])
def test_a_holder_that_has_not_written_yet_is_one_that_starts(path: Path, text: str) -> None:
    path.write_text(text)
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        second = StoreLock(path)
        waiter = threading.Thread(target=second.acquire, kwargs={"start_patience": 60})
        waiter.start()
        waiter.join(0.2)
        assert waiter.is_alive()
    waiter.join(60)
    assert not waiter.is_alive()
    second.release()


def test_a_released_lock_can_be_taken_again(path: Path) -> None:
    for _ in range(2):
        store_lock = StoreLock(path)
        store_lock.acquire()
        assert is_held(path)
        store_lock.release()
        store_lock.release()
        assert not is_held(path)


def test_a_holder_that_is_stopping_is_waited_for(path: Path) -> None:
    first, second = StoreLock(path), StoreLock(path)
    first.acquire()
    first.announce_stop()
    waiter = threading.Thread(target=second.acquire, args=(30,))
    waiter.start()
    first.release()
    waiter.join(30)
    assert not waiter.is_alive()
    second.release()


def test_patience_with_a_stopping_holder_ends(path: Path) -> None:
    first = StoreLock(path)
    first.acquire()
    first.announce_stop()
    with pytest.raises(Conflict):
        StoreLock(path).acquire(patience=0.01)
    first.release()


def test_the_death_of_the_holder_frees_it(path: Path) -> None:
    program = (
        "import sys, os, pathlib\n"
        "from sqlrs_engine.daemon.store_lock import StoreLock\n"
        "StoreLock(pathlib.Path(sys.argv[1])).acquire()\n"
        "os._exit(9)\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    holder = subprocess.run([sys.executable, "-c", program, path], env=environ, check=False)
    assert holder.returncode == 9
    assert not is_held(path)


def test_a_symlink_is_not_followed(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))
    with pytest.raises(StoreDamaged, match="symbolic links"):
        StoreLock(path).acquire()
    assert not path.with_name("elsewhere").exists()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_lock_that_is_no_file_is_refused(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    with pytest.raises(StoreDamaged, match="remove it and start the engine again"):
        StoreLock(path).acquire()
    assert os.path.lexists(path)


def test_deleting_the_file_does_not_free_the_store(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_lock, "DIRECTORY_SECONDS", 0.1)
    first = StoreLock(path)
    first.acquire()
    path.unlink()
    with pytest.raises(Conflict, match="was deleted"):
        StoreLock(path).acquire()
    first.release()
    second = StoreLock(path)
    second.acquire()
    second.release()


def test_a_filesystem_without_locks_for_directories_will_do(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def flock_files(fd: int, operation: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):  # noqa: PTH112
            raise OSError(errno.EBADF, "not open for writing")
        flock(fd, operation)

    monkeypatch.setattr(store_lock.fcntl, "flock", flock_files)
    first = StoreLock(path)
    first.acquire()
    with pytest.raises(Conflict, match="held by pid"):
        StoreLock(path).acquire()
    first.release()


def test_a_newcomer_between_the_look_and_the_release_waits(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = StoreLock(path), StoreLock(path)
    first.acquire()
    first.announce_stop()
    read = os.pread

    def read_late(fd: int, length: int, offset: int) -> bytes:
        first.release()  # after the newcomer has failed to get the lock
        return read(fd, length, offset)

    monkeypatch.setattr(os, "pread", read_late)
    second.acquire(30)
    monkeypatch.undo()
    assert is_held(path)
    second.release()
