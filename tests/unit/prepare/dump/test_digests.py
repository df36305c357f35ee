import hashlib
import json
import os

import pytest
from support.dump_archives import Item, write_archive

from sqlrs_engine.errors import Cancelled, Conflict
from sqlrs_engine.prepare.dump.digests import DumpDigests
from sqlrs_engine.prepare.dump.files import inspect
from sqlrs_engine.prepare.dump.memory import Memory
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.processes.cancellation import Cancellation

OLD = 1_000_000_000


@pytest.fixture
def memory(tmp_path):
    return tmp_path / "dumps.json"


@pytest.fixture
def context():
    return JobContext(Cancellation(), lambda line: None)


@pytest.fixture
def settled(monkeypatch):
    """As if all files were old."""
    monkeypatch.setattr("sqlrs_engine.prepare.dump.digests.SETTLED_NS", -1)


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "dump.sql"
    path.write_text("select 1;\n")
    return path


def test_the_digest_of_a_file_is_that_of_its_content(memory, context, script):
    digest = DumpDigests(Memory(memory)).read(inspect(script), context)
    assert digest == hashlib.sha256(b"select 1;\n").hexdigest()


@pytest.mark.usefixtures("settled")
def test_digests_outlive_the_engine(memory, context, script):
    digest = DumpDigests(Memory(memory)).read(inspect(script), context)
    assert DumpDigests(Memory(memory)).known(inspect(script)) == digest
    assert memory.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("settled")
def test_a_changed_file_is_read_again(memory, context, script):
    digests = DumpDigests(Memory(memory))
    digests.read(inspect(script), context)
    status = script.stat()
    script.write_text("select 2;\n")
    os.utime(script, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digests.known(inspect(script)) is None
    assert digests.read(inspect(script), context) == hashlib.sha256(b"select 2;\n").hexdigest()


def test_a_file_that_has_just_changed_is_not_remembered(memory, context, script):
    DumpDigests(Memory(memory)).read(inspect(script), context)
    assert DumpDigests(Memory(memory)).known(inspect(script)) is None


@pytest.mark.usefixtures("settled")
def test_every_file_of_a_directory_counts(memory, context, tmp_path):
    path = write_archive(tmp_path / "d", "directory", [Item(file="1.dat")])
    (path / "1.dat").write_text("one")
    digests = DumpDigests(Memory(memory))
    first = digests.read(inspect(path), context)
    (path / "1.dat").write_text("two")
    assert digests.known(inspect(path)) is None
    second = digests.read(inspect(path), context)
    (path / "1.dat").rename(path / "2.dat")
    third = digests.read(inspect(path), context)
    assert len({first, second, third}) == 3
    moved = path.rename(tmp_path / "moved")
    assert digests.read(inspect(moved), context) == third


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": [1, 2, 3]}', "\0"])
def test_a_damaged_memory_is_begun_anew(memory, context, script, content):
    memory.write_text(content)
    digests = DumpDigests(Memory(memory))
    digest = digests.read(inspect(script), context)
    assert json.loads(memory.read_text())[str(script)][1] == digest


@pytest.mark.usefixtures("settled")
def test_the_memory_is_bounded(memory, context, tmp_path, monkeypatch):
    monkeypatch.setattr("sqlrs_engine.prepare.dump.memory._REMEMBERED", 2)
    digests = DumpDigests(Memory(memory))
    paths = [tmp_path / f"{each}.sql" for each in range(3)]
    for path in paths:
        path.write_text("select 1;\n")
        digests.read(inspect(path), context)
    known = [DumpDigests(Memory(memory)).known(inspect(path)) is not None for path in paths]
    assert known == [False, True, True]


def test_a_memory_that_cannot_be_written_is_no_failure(tmp_path, context, script, settled):
    digests = DumpDigests(Memory(tmp_path / "missing" / "digests.json"))
    digest = digests.read(inspect(script), context)
    assert digests.known(inspect(script)) == digest


def test_a_file_that_changes_meanwhile_is_a_conflict(memory, script):
    dump = inspect(script)
    script.write_text("select 1, 2;\n")
    with pytest.raises(Conflict, match="changed"):
        DumpDigests(Memory(memory)).read(dump, JobContext(Cancellation(), lambda line: None))


def test_reading_can_be_cancelled(memory, context, script):
    context.cancellation.cancel()
    with pytest.raises(Cancelled):
        DumpDigests(Memory(memory)).read(inspect(script), context)
