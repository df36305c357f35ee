"""Loads the fixture plugins, one by concern, that stand beside this file."""

import os
import signal
import tempfile
from pathlib import Path

import pytest
from support.directories import remove_tree

pytest_plugins = [
    "support.fix_mounts",
    "support.fix_postgres",
    "support.fix_engine",
    "support.fix_images",
]

MEMORY = Path("/dev/shm")
ROOM = 6 * 2**30  # bytes; a whole run needs a third of it
LONGEST_FIRST = (
    "tests/contract/test_schemathesis",
    "tests/integration/test_liquibase",
    "tests/contract/",
    "tests/integration/",
    "tests/faults/",
    "tests/e2e/",
    "tests/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run long tests first: one that begins last would keep a single worker busy at the end."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    return next(
        (rank for rank, start in enumerate(LONGEST_FIRST) if item.nodeid.startswith(start)),
        len(LONGEST_FIRST),
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the directory that all processes of the run share; it goes with the run."""
    # A shell starts background commands with SIGINT ignored, which their programs would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        shared = Path(tempfile.mkdtemp(prefix="sqlrs-test-shared-"))
        os.environ["SQLRS_TEST_SHARED"] = str(shared)
        config.add_cleanup(lambda: remove_tree(shared))


def _use_memory() -> None:
    """Put temporary directories in memory where there is room.

    A cluster is a thousand files, and most tests make some: on a disk, the suite takes three times
    as long. Tests of a particular filesystem mount their own.
    """
    try:
        memory = os.statvfs(MEMORY)
    except OSError:
        return
    runs_programs = not memory.f_flag & os.ST_NOEXEC
    has_room = memory.f_bavail * memory.f_frsize >= ROOM
    if runs_programs and has_room and os.access(MEMORY, os.W_OK):
        os.environ.setdefault("TMPDIR", str(MEMORY))


_use_memory()
