"""What a watch sees of the files around a step, on real directories."""

import errno
import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from support.waiting import eventually

from sqlrs_engine.prepare.observation.inotify import Inotify
from sqlrs_engine.prepare.observation.places import Places
from sqlrs_engine.prepare.observation.watch import Sight, Watch


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.sql", "b.sql", "sub/c.sql", "sub/deep/d.sql"):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return Path(os.path.realpath(tmp_path / "root"))


@pytest.fixture
def watch(root: Path) -> Iterator[Watch]:
    watch = Watch([str(root)])
    yield watch
    watch.close()


def seen(watch: Watch, action: Callable[[], object]) -> Sight:
    watch.begin()
    action()
    return watch.end()


def names(root: Path, paths: frozenset[str]) -> set[str]:
    return {os.path.relpath(path, root) for path in paths}


def test_files_that_are_read_are_seen_at_any_depth(root: Path, watch: Watch) -> None:
    def action() -> None:
        (root / "a.sql").read_text()
        (root / "sub/deep/d.sql").read_text()

    sight = seen(watch, action)

    assert names(root, sight.read) == {"a.sql", "sub/deep/d.sql"}
    assert not sight.rewritten
    assert not sight.listed
    assert sight.blind is None


def test_what_other_processes_read_is_seen(root: Path, watch: Watch) -> None:
    sight = seen(watch, lambda: subprocess.run(["cat", "b.sql"], cwd=root, check=True))

    assert names(root, sight.read) == {"b.sql"}


def test_a_mapped_file_and_an_open_one_count_as_read(root: Path, watch: Watch) -> None:
    watch.begin()
    mapped = os.open(root / "a.sql", os.O_RDONLY)
    with mmap.mmap(mapped, 0, prot=mmap.PROT_READ) as memory:
        assert bytes(memory) == b"a.sql"
        sight = watch.end()
    os.close(mapped)

    assert names(root, sight.read) == {"a.sql"}


def test_an_empty_file_counts_as_read(root: Path, watch: Watch) -> None:
    (root / "empty").touch()

    assert names(root, seen(watch, (root / "empty").read_bytes).read) == {"empty"}


def test_each_step_has_its_own_reads(root: Path, watch: Watch) -> None:
    first = seen(watch, (root / "a.sql").read_text)
    (root / "b.sql").read_text()  # between the steps
    second = seen(watch, (root / "sub/c.sql").read_text)

    assert names(root, first.read) == {"a.sql"}
    assert names(root, second.read) == {"sub/c.sql"}


def test_what_a_step_makes_and_reads_is_no_input(root: Path, watch: Watch) -> None:
    def action() -> None:
        (root / "made.sql").write_text("made")
        (root / "made.sql").read_text()
        (root / "moved.sql").write_text("moved")
        (root / "moved.sql").rename(root / "final.sql")
        (root / "final.sql").read_text()
        (root / "new").mkdir()
        (root / "new/x.sql").write_text("new")
        (root / "new/x.sql").read_text()

    assert not seen(watch, action).read


def test_a_step_sees_what_the_one_before_made(root: Path, watch: Watch) -> None:
    def make() -> None:
        (root / "made.sql").write_text("made")
        (root / "new/below").mkdir(parents=True)
        (root / "new/below/x.sql").write_text("new")

    def read() -> None:
        (root / "made.sql").read_text()
        (root / "new/below/x.sql").read_text()

    seen(watch, make)

    assert names(root, seen(watch, read).read) == {"made.sql", "new/below/x.sql"}


def test_files_that_are_only_written_are_not_read(root: Path, watch: Watch) -> None:
    def action() -> None:
        (root / "a.sql").write_text("other")
        with (root / "b.sql").open("a") as file:
            file.write("more")

    assert not seen(watch, action).read


@pytest.mark.parametrize("order", ["read first", "written first"])
@pytest.mark.parametrize("way", ["truncated", "appended", "replaced", "removed"])
def test_files_that_are_read_and_written_are_told(
    root: Path, watch: Watch, order: str, way: str
) -> None:
    path = root / "a.sql"

    def write() -> None:
        if way == "truncated":
            path.write_text("new")
        elif way == "appended":
            with path.open("a") as file:
                file.write("more")
        elif way == "replaced":
            (root / "temporary").write_text("new")
            (root / "temporary").replace(path)
        else:
            path.unlink()

    def action() -> None:
        if order == "written first":
            write()
        if path.exists():
            path.read_text()
        if order == "read first":
            write()

    sight = seen(watch, action)

    expected = set() if (way, order) == ("removed", "written first") else {"a.sql"}
    assert names(root, sight.read) == names(root, sight.rewritten) == expected


def test_directories_that_are_listed_are_seen_as_they_were(root: Path, watch: Watch) -> None:
    def action() -> None:
        list((root / "sub").iterdir())
        (root / "sub/later.sql").touch()

    sight = seen(watch, action)

    assert sight.listed == {str(root / "sub"): {"c.sql": "file", "deep": "directory"}}


def test_a_directory_that_is_only_entered_is_not_listed(root: Path, watch: Watch) -> None:
    def action() -> None:
        os.close(os.open(root / "sub", os.O_RDONLY | os.O_DIRECTORY))

    assert not seen(watch, action).listed


def test_links_lead_to_files_and_directories_elsewhere(root: Path, tmp_path: Path) -> None:
    elsewhere = Path(os.path.realpath(tmp_path)) / "elsewhere"
    (elsewhere / "tree/below").mkdir(parents=True)
    for name in ("one.sql", "other.sql", "tree/below/two.sql"):
        (elsewhere / name).write_text(name)
    (root / "link.sql").symlink_to(elsewhere / "one.sql")
    (root / "sub/tree").symlink_to(elsewhere / "tree")
    (root / "loop").symlink_to(root)
    (root / "broken").symlink_to(root / "nothing")
    watch = Watch([str(root)])

    def action() -> None:
        (root / "link.sql").read_text()
        (root / "sub/tree/below/two.sql").read_text()
        (elsewhere / "other.sql").read_text()  # nothing leads there

    sight = seen(watch, action)
    watch.close()

    assert names(elsewhere, sight.read) == {"one.sql", "tree/below/two.sql"}
    assert sight.links[str(root / "link.sql")] == str(elsewhere / "one.sql")
    assert sight.links[str(root / "sub/tree")] == str(elsewhere / "tree")


@pytest.mark.parametrize("what", ["link", "directory"])
def test_a_replaced_link_or_directory_makes_it_blind_for_one_step(root: Path, what: str) -> None:
    (root / "link").symlink_to("sub")
    (root / "staged").mkdir()
    (root / "staged/new.sql").write_text("new")
    watch = Watch([str(root)])

    def replace() -> None:
        if what == "link":
            (root / "other").symlink_to("staged")
            (root / "other").replace(root / "link")
        else:
            (root / "sub").rename(root / "old")
            (root / "staged").rename(root / "sub")

    assert "moved or replaced" in (seen(watch, replace).blind or "")
    sight = seen(watch, (root / "sub" / ("c.sql" if what == "link" else "new.sql")).read_text)
    watch.close()

    assert sight.blind is None
    assert len(sight.read) == 1


def test_an_overflow_makes_it_blind_for_one_step(root: Path, watch: Watch) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())

    def flood() -> None:
        with watch._lock:  # its thread takes nothing off the queue meanwhile
            for number in range(limit // 2 + 1):
                os.close(os.open(root / ("a.sql", "b.sql")[number % 2], os.O_RDONLY))

    assert "could be followed" in (seen(watch, flood).blind or "")
    assert seen(watch, (root / "a.sql").read_text).blind is None


def test_its_thread_keeps_the_queue_short(root: Path, watch: Watch) -> None:
    watch.begin()
    (root / "a.sql").read_text()

    eventually(lambda: watch._seen, "the event")
    assert names(root, watch.end().read) == {"a.sql"}


def test_hidden_and_vendored_directories_are_left_out_and_named(tmp_path: Path) -> None:
    for name in (".git", "node_modules", "vendor", "app/__pycache__", "env/lib"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "env/pyvenv.cfg").touch()
    (tmp_path / ".env").write_text("A=1")
    watch = Watch([str(tmp_path)])

    def action() -> None:
        for path in tmp_path.rglob("file"):
            path.read_text()
        (tmp_path / ".env").read_text()

    sight = seen(watch, action)
    notes = watch.notes()
    watch.close()

    assert names(tmp_path, sight.read) == {".env"}
    assert notes == [".git", "env", "node_modules", "vendor"]


def test_a_module_that_python_reads_compiled_counts_as_its_source(root: Path, watch: Watch) -> None:
    (root / "sub/models.py").write_text("n = 1\n")
    environment = {key: each for key, each in os.environ.items() if "PYTHON" not in key}

    def run() -> None:
        command = [sys.executable, "-c", "import sub.models"]
        subprocess.run(command, cwd=root, env=environment, check=True)

    assert names(root, seen(watch, run).read) == {"sub/models.py"}  # and is compiled
    assert list((root / "sub/__pycache__").iterdir())
    again = seen(watch, run)
    assert names(root, again.read) == {"sub/models.py"}
    assert not [path for path in again.listed if path.endswith("__pycache__")]
    assert again.blind is None


def test_there_is_a_bound_and_the_nearest_directories_count(root: Path) -> None:
    watch = Watch([str(root)], most=2)

    def action() -> None:
        (root / "sub/c.sql").read_text()
        (root / "sub/deep/d.sql").read_text()

    sight = seen(watch, action)
    notes = watch.notes()
    watch.close()

    assert names(root, sight.read) == {"sub/c.sql"}
    assert notes == ["what is beyond 2 directories"]


def test_of_a_directory_that_all_share_only_itself_is_followed(root: Path) -> None:
    root.chmod(0o1777)
    watch = Watch([str(root)])

    def action() -> None:
        (root / "a.sql").read_text()
        (root / "sub/c.sql").read_text()

    sight = seen(watch, action)
    notes = watch.notes()
    watch.close()

    assert names(root, sight.read) == {"a.sql"}
    assert notes == [f"the directories in {root}, which is not a project's"]


def test_the_excluded_directory_is_not_followed(root: Path) -> None:
    watch = Watch([str(root)], excluded=str(root / "sub"))

    sight = seen(watch, (root / "sub/c.sql").read_text)
    watch.close()

    assert not sight.read


def test_hard_links_count_by_the_name_that_is_opened(root: Path, tmp_path: Path) -> None:
    os.link(root / "a.sql", tmp_path / "elsewhere.sql")
    os.link(root / "a.sql", root / "sub/same.sql")
    watch = Watch([str(root)])

    def action() -> None:
        (tmp_path / "elsewhere.sql").read_text()
        (root / "sub/same.sql").read_text()

    sight = seen(watch, action)
    watch.close()

    assert names(root, sight.read) == {"sub/same.sql"}


def test_directories_that_are_missing_or_files_are_nothing_to_follow(tmp_path: Path) -> None:
    watch = Watch([str(tmp_path / "missing")])

    assert seen(watch, lambda: None) == Sight()
    assert watch.notes() == []
    watch.close()


def test_a_directory_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (tmp_path / "closed").mkdir(mode=0)
    watch = Watch([str(tmp_path)])
    try:
        watch.begin()
        assert watch.notes() == [f"{tmp_path}/closed (Permission denied)"]
    finally:
        watch.close()
        (tmp_path / "closed").chmod(0o700)


def test_it_leaves_nothing_open(root: Path) -> None:
    def queues() -> int:
        links = Path("/proc/self/fd").iterdir()
        return sum(link.is_symlink() and "inotify" in str(link.readlink()) for link in links)

    before = queues()
    watch = Watch([str(root)])
    watch.begin()
    watch.close()

    eventually(lambda: queues() <= before, "the end of the queue")
    assert sys.platform == "linux"


@pytest.mark.parametrize(("error", "stays"), [(errno.ENOSPC, 1), (errno.EACCES, 2)])
def test_the_limits_of_the_user_are_told(root: Path, error: int, stays: int) -> None:
    class Limited:
        added = 0

        def add(self, path: str) -> int:
            self.added += 1
            if self.added == 2:
                raise OSError(error, os.strerror(error))
            return self.added

    places = Places(cast("Inotify", Limited()))
    places.follow([str(root)])
    (note,) = places.notes()
    assert ("max_user_watches" in note) == (error == errno.ENOSPC)
    assert len(places.watched) == stays
