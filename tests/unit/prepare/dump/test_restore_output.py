import pytest

from sqlrs_engine.errors import DumpUnusable, StepFailed
from sqlrs_engine.prepare.dump.restore_output import RestoreOutput
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.processes.cancellation import Cancellation

FAILURE = """\
pg_restore: while PROCESSING TOC:
pg_restore: from TOC entry 215; 1259 16386 TABLE film boss
pg_restore: error: could not execute query: ERROR:  type "mpaa" does not exist
LINE 2:     rating mpaa
                   ^
Command was: CREATE TABLE film (
    rating mpaa
);
"""


@pytest.fixture
def log():
    return []


@pytest.fixture
def output(log):
    return RestoreOutput(JobContext(Cancellation(), log.append), 10)


def read(output, text):
    for line in text.splitlines():
        output.on_line(line)


def test_objects_one_after_the_other_are_counted(output, log):
    read(output, "pg_restore: connecting to database for restore\n")
    assert output.progress == "restore: 0 of 10 objects"
    read(output, 'pg_restore: creating TABLE "public.a"\npg_restore: creating TABLE "public.b"\n')
    read(output, 'pg_restore: processing data for table "public.a"\n')
    assert output.progress == "restore: 2 of 10 objects"
    assert log == []


def test_parallel_objects_are_counted_when_they_are_finished(output, log):
    read(output, "pg_restore: processing item 5 TABLE a\npg_restore: creating TABLE a\n")
    read(output, "pg_restore: launching item 7 TABLE DATA a\n")
    read(output, "pg_restore:pg_restore: launching item 8 TABLE DATA b\n")
    read(output, 'pg_restore: processing data for table "a"\n processing data for table "b"\n')
    assert output.progress == "restore: 1 of 10 objects"
    read(output, "pg_restore: finished item 7 TABLE DATA a\n")
    assert output.progress == "restore: 2 of 10 objects"
    assert log == []


def test_remarks_are_logged(output, log):
    read(output, "pg_restore: warning: what is this\nHINT:  see there\n")
    assert log == ["pg_restore: warning: what is this", "HINT:  see there"]


def test_a_failure_names_the_object(output):
    read(output, 'pg_restore: creating TABLE "public.film"\n' + FAILURE)
    error = output.failure(1)
    assert isinstance(error, StepFailed)
    assert error.details.splitlines()[0] == "TABLE film boss"
    assert 'ERROR:  type "mpaa" does not exist' in error.details
    assert "    rating mpaa" in error.details


def test_a_long_failure_is_cut(output):
    read(output, FAILURE + "x" * 100_000 + "\n" + "line\n" * 100_000)
    assert len(output.failure(1).details) < 9000


def test_a_failure_without_a_reason_has_the_code(output):
    read(output, "pg_restore: warning: something\n")
    assert output.failure(-9).details == (
        "pg_restore ended with code -9\npg_restore: warning: something"
    )


@pytest.mark.parametrize(
    "line",
    [
        "pg_restore: error: could not read from input file: end of file",
        "pg_restore: error: could not uncompress data: (null)",
        "pg_restore: error: unexpected end of file",
    ],
)
def test_damage_is_told_from_failing_sql(output, line):
    output.on_line(line)
    assert isinstance(output.failure(1), DumpUnusable)
