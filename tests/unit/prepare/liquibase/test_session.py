"""The talk with a Liquibase process, whose part a shell script plays."""

import json
import threading
import time
from dataclasses import replace

import psutil
import pytest
from support.waiting import eventually

from sqlrs_engine.errors import Cancelled, InvalidArgument, LiquibaseUnavailable, StepFailed
from sqlrs_engine.prepare.liquibase.changelog import Changelog, Changeset
from sqlrs_engine.prepare.liquibase.changelog_cache import ChangelogCache
from sqlrs_engine.prepare.liquibase.session import Session
from sqlrs_engine.prepare.liquibase.session_pool import SessionPool
from sqlrs_engine.prepare.psql.local_files import LocalFiles
from sqlrs_engine.processes.cancellation import Cancellation

READY = """printf '\\001{"ready": "4"}\\n'; """
CHANGESET = Changeset(id="1", author="me", path="c.sql", fields={}, files={}, parameters={})
LOGIN = ("jdbc:postgresql://127.0.0.1:1/postgres", "sqlrs", "secret")


def plan(**fields):
    return {
        "version": "4",
        "driver": "42",
        "settings": {},
        "preconditions": None,
        "parameters": {},
        "changesets": [],
        "locations": [],
        "files": [],
        "looked": [],
        "listed": [],
        **fields,
    }


@pytest.fixture
def start(tmp_path):
    sessions = []

    def begin(script, ready=READY):
        path = {"PATH": "/usr/bin:/bin"}
        sessions.append(Session(["/bin/sh", "-c", ready + script], tmp_path, path))
        return sessions[-1]

    yield begin
    for session in sessions:
        session.close()


def answering(answer):
    return f"while read -r line; do printf '\\001%s\\n' '{json.dumps(answer)}'; done"


def apply(session, control=None, lines=None):
    heard = [] if lines is None else lines
    return session.apply(
        0, CHANGESET, LOGIN, {"role": "r", "a": "1 2"}, control or Cancellation(), heard.append
    )


def test_a_plan(start):
    session = start(answering(plan(settings={"x": "y"})))
    changelog = session.plan("offline:postgresql", Cancellation(), lambda line: None)
    assert changelog.common == {"liquibase": "4", "liquibase driver": "42", "x": "y"}
    assert session.idle


def test_a_long_answer(start):
    session = start(
        "read -r line; printf '\\001'; head -c 3000000 /dev/zero | tr '\\0' ' '; "
        f"printf '%s\\n' '{json.dumps(plan())}'; cat"
    )
    assert session.plan("offline:postgresql", Cancellation(), lambda line: None).changesets == ()


def test_an_answer_without_sense(start):
    session = start("read -r line; printf '\\001{oops\\n'; cat")
    with pytest.raises(StepFailed, match="unexpected answer"):
        session.plan("offline:postgresql", Cancellation(), lambda line: None)


def test_requests_and_lines(start, tmp_path):
    session = start(
        f"read -r line; printf '%s' \"$line\" > {tmp_path}/asked; echo 'for people'; "
        """printf 'half\\001{"files": ["f"], "settings": {"a": "2"}}\\n'; cat"""
    )
    lines = []
    assert apply(session, lines=lines) == (["f"], {"a": "2"})
    assert lines == ["for people", "half"]
    # The role comes last: with another one, less may be allowed.
    assert (tmp_path / "asked").read_text() == "\t".join(["apply", "0", *LOGIN, "a=1+2&role=r"])


def test_errors_name_the_changeset(start):
    session = start(answering({"error": "ERROR: no such table", "incompatible": False}))
    with pytest.raises(StepFailed) as failed:
        apply(session)
    assert failed.value.details == "changeset 1::me::c.sql: ERROR: no such table"
    assert session.idle
    with pytest.raises(StepFailed) as failed:
        session.plan("offline:postgresql", Cancellation(), lambda line: None)
    assert failed.value.message == "Liquibase cannot read the changelog: correct it"


def test_another_version(start):
    session = start(answering({"error": "NoSuchMethodError", "incompatible": True}))
    with pytest.raises(StepFailed, match=r"liquibase\.mode to command"):
        apply(session)
    with pytest.raises(StepFailed, match="does not know this version"):
        session.plan("offline:postgresql", Cancellation(), lambda line: None)


def test_a_process_that_ends(start):
    session = start("echo 'java.lang.OutOfMemoryError'; exit 3", ready="")
    with pytest.raises(StepFailed) as failed:
        apply(session)
    assert failed.value.message == "Liquibase ended unexpectedly: prepare again"
    assert failed.value.details == "Liquibase ended with code 3\njava.lang.OutOfMemoryError"
    assert not session.idle


def test_cancelling_one_that_hangs(start, tmp_path):
    session = start(f"sleep 600 & echo $! > {tmp_path}/pid; wait")
    control = Cancellation()

    def cancel():
        eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
        control.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(Cancelled):
        apply(session, control)
    thread.join()
    assert not session.idle
    session.close()
    child = int((tmp_path / "pid").read_text())
    eventually(lambda: not psutil.pid_exists(child))


def test_a_program_that_cannot_be_run(tmp_path):
    with pytest.raises(LiquibaseUnavailable):
        Session(["/nowhere/java"], tmp_path, {})


# -- sessions that wait --


def test_one_session_waits_for_the_same_arguments(start):
    sessions = SessionPool()
    one, two = (start(answering(plan())) for _ in range(2))
    sessions.give_back(["a"], one)
    assert sessions.take(["a"], lambda: two) is one
    sessions.give_back(["a"], one)
    assert sessions.take(["b"], lambda: two) is two
    sessions.give_back(["b"], two)  # in the place of the other
    assert not one.idle
    assert two.idle
    sessions.close()
    assert not two.idle
    three = start(answering(plan()))
    sessions.give_back(["c"], three)
    assert not three.idle


def test_a_session_waits_for_a_while_only(start):
    sessions = SessionPool(idle_seconds=0.01)
    one = start(answering(plan()))
    sessions.give_back(["a"], one)
    eventually(lambda: not one.idle)
    two = start(answering(plan()))
    assert sessions.take(["a"], lambda: two) is two
    sessions.close()


def test_a_session_that_died_is_not_lent(start):
    sessions = SessionPool()
    dead = start("exit 1")
    eventually(lambda: not dead.idle)
    sessions.give_back(["a"], dead)
    other = start(answering(plan()))
    assert sessions.take(["a"], lambda: other) is other


# -- what is remembered --


@pytest.fixture
def files(tmp_path):
    root = tmp_path / "work"
    (root / "all").mkdir(parents=True)
    (root / "c.xml").write_text("a changelog")
    (root / "all" / "1.sql").write_text("one")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "3.sql").write_text("three")
    return root


def changelog(root):
    digest = LocalFiles().digest
    uris = {name: (root / name).as_uri() for name in ("c.xml", "all/1.sql")}
    return Changelog.from_json(
        plan(
            locations=[str(root)],
            files=[
                {"uri": uri, "path": name, "digest": digest(root / name)[0]}
                for name, uri in uris.items()
            ],
            looked=[
                {"path": "c.xml", "directory": False, "found": [uris["c.xml"]]},
                {"path": "all", "directory": True, "found": [uris["all/1.sql"]]},
                {"path": "optional.xml", "directory": False, "found": []},
            ],
        )
    )


@pytest.fixture
def memory(tmp_path):
    return ChangelogCache(tmp_path / "memory", LocalFiles().digest)


def kept(memory, files, since=None):
    made = changelog(files)
    beside = memory.digests([files / "liquibase.properties"])
    memory.keep(["key"], made, beside, time.time() + 60 if since is None else since)
    return made


def test_a_changelog_is_remembered_while_nothing_changes(memory, files, tmp_path):
    made = kept(memory, files)
    other = ChangelogCache(tmp_path / "memory", LocalFiles().digest)  # of the next engine
    known = other.recall(["key"])
    assert known is not None
    assert known[0] == made
    assert {read.path for read in known[1]} == set(made.files)
    assert other.recall(["another"]) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "c.xml").write_text("another"),
        lambda root: (root / "c.xml").unlink(),
        lambda root: (root / "all" / "2.sql").write_text("two"),
        lambda root: (root / "all" / "1.sql").unlink(),
        lambda root: (root / "optional.xml").write_text("there"),
        lambda root: (root / "all" / "link").symlink_to(root.parent / "linked"),
        lambda root: (root / "liquibase.properties").write_text("contexts=x"),
    ],
)
def test_what_makes_a_changelog_be_read_again(memory, files, change):
    kept(memory, files)
    change(files)
    assert memory.recall(["key"]) is None


def test_touching_a_file_changes_nothing(memory, files):
    kept(memory, files)
    (files / "c.xml").write_text("a changelog")
    assert memory.recall(["key"]) is not None


def test_what_changed_meanwhile_is_not_remembered(memory, files):
    kept(memory, files, since=time.time() - 60)  # a directory is newer than that
    assert memory.recall(["key"]) is None
    made = changelog(files)
    (files / "optional.xml").write_text("there")
    memory.keep(["key"], made, {}, time.time() + 60)
    assert memory.recall(["key"]) is None


def test_a_damaged_memory_is_none(memory, files, tmp_path):
    kept(memory, files)
    (entry,) = (tmp_path / "memory").iterdir()
    for text in ("", "{}", '{"changelog": 1}', "[]"):
        entry.write_text(text)
        assert memory.recall(["key"]) is None


def test_what_came_out_of_an_archive_is_not_remembered(memory, files):
    made = replace(changelog(files), archived=True)
    memory.keep(["key"], made, {}, time.time() + 60)
    assert memory.recall(["key"]) is None


def test_links_that_lead_back(memory, files):
    (files / "all" / "round").symlink_to(files)
    kept(memory, files)
    assert memory.recall(["key"]) is not None


def test_a_file_that_is_not_what_was_read(memory, files):
    made = changelog(files)
    (files / "c.xml").unlink()
    with pytest.raises(InvalidArgument):
        memory.check(made)
