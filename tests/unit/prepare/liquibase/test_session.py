"""The conversation with a Liquibase process, whose part a shell script plays."""

import json

import psutil
import pytest
from support.liquibase_fakes import answering, plan
from support.prepare_fakes import in_thread
from support.waiting import eventually

from sqlrs_engine.errors import Cancelled, LiquibaseUnavailable, StepFailed
from sqlrs_engine.prepare.liquibase.changelog import Changeset
from sqlrs_engine.prepare.liquibase.session import Session
from sqlrs_engine.processes.cancellation import Cancellation

CHANGESET = Changeset(id="1", author="me", path="c.sql", fields={}, files={}, parameters={})
LOGIN = ("jdbc:postgresql://127.0.0.1:1/postgres", "sqlrs", "secret")


def apply(session, cancellation=None, on_line=lambda line: None):
    settings = {"role": "r", "a": "1 2"}
    return session.apply(0, CHANGESET, LOGIN, settings, cancellation or Cancellation(), on_line)


def read(session):
    return session.plan("offline:postgresql", Cancellation(), lambda line: None)


def test_the_answer_to_plan_is_a_changelog(start):
    session = start(answering(plan(settings={"x": "y"})))
    changelog = read(session)
    assert changelog.common == {"liquibase": "4", "liquibase driver": "42", "x": "y"}
    assert session.idle


def test_an_answer_may_be_longer_than_a_pipe_holds(start):
    session = start(
        "read -r line; printf '\\001'; head -c 3000000 /dev/zero | tr '\\0' ' '; "
        f"printf '%s\\n' '{json.dumps(plan())}'; cat"
    )
    assert read(session).changesets == ()


def test_an_answer_that_is_not_json_is_a_failed_step(start):
    session = start("read -r line; printf '\\001{oops\\n'; cat")
    with pytest.raises(StepFailed, match="unexpected answer"):
        read(session)


def test_apply_sends_one_line_and_passes_on_what_is_for_people(start, tmp_path):
    session = start(
        f"read -r line; printf '%s' \"$line\" > {tmp_path}/asked; echo 'for people'; "
        """printf 'half\\001{"files": ["f"]}\\n'; cat"""
    )
    lines = []
    assert apply(session, on_line=lines.append) == ["f"]
    assert lines == ["for people", "half"]
    # The role comes last: another one may be allowed less.
    assert (tmp_path / "asked").read_text() == "\t".join(["apply", "0", *LOGIN, "a=1+2&role=r"])


def test_errors_of_liquibase_name_the_changeset(start):
    session = start(answering({"error": "ERROR: no such table", "incompatible": False}))
    with pytest.raises(StepFailed) as failed:
        apply(session)
    assert failed.value.details == "changeset 1::me::c.sql: ERROR: no such table"
    assert session.idle
    with pytest.raises(StepFailed) as failed:
        read(session)
    assert failed.value.message == "Liquibase cannot read the changelog: correct it"


def test_an_unsupported_version_of_liquibase_is_named_as_such(start):
    session = start(answering({"error": "NoSuchMethodError", "incompatible": True}))
    with pytest.raises(StepFailed, match=r"liquibase\.mode to command"):
        apply(session)
    with pytest.raises(StepFailed, match="does not know this version"):
        read(session)


def test_a_liquibase_that_ends_by_itself_is_quoted(start):
    session = start("echo 'java.lang.OutOfMemoryError'; exit 3", ready="")
    with pytest.raises(StepFailed) as failed:
        apply(session)
    assert failed.value.message == "Liquibase ended unexpectedly: prepare again"
    assert failed.value.details == "Liquibase ended with code 3\njava.lang.OutOfMemoryError"
    assert not session.idle


def test_cancelling_kills_a_liquibase_that_hangs_and_its_children(start, tmp_path):
    session = start(f"sleep 600 & echo $! > {tmp_path}/pid; wait")
    cancellation = Cancellation()

    def cancel():
        eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
        cancellation.cancel()

    with in_thread(cancel), pytest.raises(Cancelled):
        apply(session, cancellation)
    assert not session.idle
    child = int((tmp_path / "pid").read_text())
    eventually(lambda: not psutil.pid_exists(child))


def test_a_missing_program_is_liquibase_unavailable(tmp_path):
    with pytest.raises(LiquibaseUnavailable):
        Session(["/nowhere/java"], tmp_path, {})
