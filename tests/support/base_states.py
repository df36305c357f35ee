"""Base states made once per run and copied into the state stores of tests.

An ``initdb`` takes most of the time of a test that prepares on a store of its own. What an engine
has published as its base state is the same each time, so a copy stands for it. Tests of how base
states are built begin with an empty store.
"""

import contextlib
import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support.directories import make_writable

IMAGE = "postgres:18"
SHARED = "SQLRS_TEST_SHARED"  # names the directory that the processes of a run share


def seed(store: Path) -> None:
    """Put the base state of ``IMAGE`` into a state store without states."""
    cache = Path(os.environ[SHARED])
    with _locked(cache):
        if not (cache / "engines").exists():
            _make(cache)
    subprocess.run(["cp", "-a", cache / "engines", store], check=True)


def _make(cache: Path) -> None:
    from support.fix_store import Store

    with tempfile.TemporaryDirectory(prefix="sqlrs-test-") as place:
        store = Store(Path(place) / "store", IMAGE)
        store.without_pool()
        store.prepare("-c", "select 1")
        store.close()
        (base,) = store.root.glob("engines/*/*/bases/*")
        draft = cache / "draft"
        draft.mkdir()
        copy = ["cp", "-a", "--parents", str(base.relative_to(store.root)), str(draft)]
        subprocess.run(copy, cwd=store.root, check=True)
        (draft / "engines").rename(cache / "engines")
        make_writable(store.root)


@contextlib.contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Let one of the run's processes in at a time."""
    with (cache / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
