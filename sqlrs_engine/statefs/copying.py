"""Clones by copying files, with two threads; sparse files stay sparse."""

import errno
import os
import stat
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from .backend import Owner
from .containers import MODE, mark
from .layout import DATA
from .tree import opened

CopyData = Callable[[int, int, os.stat_result], None]
"""Fills an empty file: descriptors of source and target, and the status of the source."""

# Fewer files than this are copied before a second thread has even begun.
_WORTH_A_THREAD = 8
# Bounds the open descriptors, however many databases there are.
DIRECTORIES_AT_ONCE = 32

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_READ_WRITE = stat.S_IRUSR | stat.S_IWUSR
_BLOCK = 512
_CHUNK = 1 << 30
# Some sandboxes and network filesystems have no such call.
_NO_COPY_FILE_RANGE = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EXDEV)

# The files by which a server, running or not, is known.
_LEFT_BEHIND = ("postmaster.pid", "postmaster.opts")
_SOCKET_PREFIX = ".s.PGSQL."

_Pair = tuple[int, int]
"""Descriptors of a directory and of its copy."""
_File = tuple[int, int, str]
"""Descriptors of a directory and of its copy, and the name of a file in both."""


class CopyBackend:
    """Plain copies, which work on every filesystem."""

    name = "copy"
    copy_on_write = False

    def create(self, container: Path) -> None:
        """See ``Backend.create``."""
        container.mkdir(MODE)
        with opened(container) as directory:
            mark(directory)

    def clone(self, source: Path, container: Path, owner: Owner | None) -> None:
        """See ``Backend.clone``."""
        self.create(container)
        copy_cluster(source, container, owner, copy_data)

    def settle(self, root: Path) -> None:
        """Do nothing: the space of deleted files is free at once."""


def is_left_behind(name: str) -> bool:
    """Return whether a file of a data directory is left out of a copy."""
    return name in _LEFT_BEHIND or name.startswith(_SOCKET_PREFIX)


def copy_cluster(source: Path, container: Path, owner: Owner | None, copy_data: CopyData) -> None:
    """Copy the data directory of one container into another that has none yet."""
    with (
        opened(source) as original,
        opened(container) as target,
        ThreadPoolExecutor(1, "clone") as helper,
    ):
        _Copy(helper, owner, copy_data).subdirectories((original, target), [DATA])


class _Copy:
    """A copy under way. The caller's thread and a helper share the files."""

    def __init__(
        self, helper: ThreadPoolExecutor, owner: Owner | None, copy_data: CopyData
    ) -> None:
        self._helper = helper
        self._owner = owner
        self._copy_data = copy_data

    def subdirectories(self, parent: _Pair, names: list[str]) -> None:
        """Copy directories, siblings in parallel: threads in one directory hinder each other."""
        source, target = parent
        for start in range(0, len(names), DIRECTORIES_AT_ONCE):
            with ExitStack() as held:
                pairs = []
                for name in names[start : start + DIRECTORIES_AT_ONCE]:
                    os.mkdir(name, MODE, dir_fd=target)
                    below = held.enter_context(opened(name, within=source))
                    into = held.enter_context(opened(name, within=target))
                    if self._owner is not None:
                        os.fchown(into, *self._owner)
                    pairs.append((below, into))
                self._contents(pairs)

    def _contents(self, pairs: list[_Pair]) -> None:
        files: deque[_File] = deque()
        deeper = []
        for pair in pairs:
            source, target = pair
            directories = []
            with os.scandir(source) as entries:
                for entry in entries:
                    if is_left_behind(entry.name):
                        continue
                    if entry.is_file(follow_symlinks=False):
                        files.append((source, target, entry.name))
                    elif entry.is_dir(follow_symlinks=False):
                        directories.append(entry.name)
                    elif entry.is_symlink():
                        self._link(source, target, entry.name)
            if directories:
                deeper.append((pair, directories))
        self._files(files)
        for pair, directories in deeper:
            self.subdirectories(pair, directories)

    def _link(self, source: int, target: int, name: str) -> None:
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        if self._owner is not None:
            os.chown(name, *self._owner, dir_fd=target, follow_symlinks=False)

    def _files(self, files: deque[_File]) -> None:
        """Copy files from both ends of a list, so that the two meet in one directory only."""
        if len(files) < _WORTH_A_THREAD:
            self._drain(files, files.popleft)
            return
        other_end = self._helper.submit(self._drain, files, files.pop)
        try:
            self._drain(files, files.popleft)
        finally:
            other_end.result()

    def _drain(self, files: deque[_File], take: Callable[[], _File]) -> None:
        while True:
            try:
                source, target, name = take()
            except IndexError:
                return
            try:
                self._file(source, target, name)
            except BaseException:
                files.clear()  # ends the other thread
                raise

    def _file(self, source: int, target: int, name: str) -> None:
        reading = os.open(name, _READ, dir_fd=source)
        try:
            status = os.fstat(reading)
            if not stat.S_ISREG(status.st_mode):
                return
            mode = status.st_mode & stat.S_IRWXU | _READ_WRITE
            writing = os.open(name, _WRITE, mode, dir_fd=target)
            try:
                if self._owner is not None:
                    os.fchown(writing, *self._owner)
                if status.st_size:
                    self._copy_data(reading, writing, status)
            finally:
                os.close(writing)
        finally:
            os.close(reading)


def copy_data(reading: int, writing: int, status: os.stat_result) -> None:
    """Copy a file's content; its holes stay holes."""
    size = status.st_size
    if status.st_blocks * _BLOCK >= size:
        _copy_range(reading, writing, 0, size)
        return
    os.ftruncate(writing, size)
    position = 0
    while position < size:
        try:
            start = os.lseek(reading, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return  # only a hole up to the end
        position = os.lseek(reading, start, os.SEEK_HOLE)
        _copy_range(reading, writing, start, position)


def _copy_range(reading: int, writing: int, start: int, end: int) -> None:
    while start < end:
        count = min(end - start, _CHUNK)
        try:
            copied = os.copy_file_range(reading, writing, count, start, start)
        except OSError as error:
            if error.errno not in _NO_COPY_FILE_RANGE:
                raise
            os.lseek(writing, start, os.SEEK_SET)
            copied = os.sendfile(writing, reading, start, count)
        if not copied:
            raise OSError(errno.EIO, "a file became shorter during the copy")
        start += copied
