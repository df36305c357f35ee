"""One run of psql: its input, its output, its error, its end."""

import os
import threading

import psutil
import pytest
from support.prepare_fakes import FakeCluster, in_thread, write_psql
from support.waiting import eventually

from sqlrs_engine.errors import Cancelled, StepFailed
from sqlrs_engine.prepare.psql.runner import Invocation, run_psql
from sqlrs_engine.processes.cancellation import Cancellation


class Psql:
    """A psql that does what a shell script says, in a directory of its own."""

    def __init__(self, root):
        self.root = root
        self.cancellation = Cancellation()
        self.lines = []

    def run(self, script, *, stdin=None, arguments=(), on_line=None):
        write_psql(self.root / "bin", f"#!/bin/sh\n{script}\n")
        cluster = FakeCluster(self.root, self.root / "bin")
        where = self.root / "cwd"
        where.mkdir(exist_ok=True)
        run_psql(
            cluster,
            Invocation(list(arguments), where, stdin),
            self.cancellation,
            on_line or self.lines.append,
        )
        return self.lines

    def failure(self, script, error=StepFailed, **options):
        with pytest.raises(error) as caught:
            self.run(script, **options)
        return caught.value.message, caught.value.details

    def processes(self):
        """Return what runs in psql's directory."""
        return [p for p in psutil.process_iter() if self._works_here(p)]

    def _works_here(self, process):
        try:
            return process.cwd() == str(self.root / "cwd") and process.status() != "zombie"
        except psutil.Error:
            return False


@pytest.fixture
def fake(tmp_path):
    fake = Psql(tmp_path)
    yield fake
    eventually(lambda: not fake.processes(), "the end of all processes")


def test_lines_of_both_outputs_come_in_order(fake):
    assert fake.run("echo one; echo two >&2; echo three") == ["one", "two", "three"]


def test_psql_gets_the_arguments_and_the_working_directory(fake):
    here = str(fake.root / "cwd")
    assert fake.run('pwd; printf "%s\\n" "$@"', arguments=["-c", "a b"]) == [here, "-c", "a b"]


def test_psql_reads_the_standard_input(fake):
    text = "select 'é';\n" * 100_000
    assert fake.run("wc -c", stdin=text) == [str(len(text.encode()))]
    assert fake.run("wc -c", stdin="")[-1] == "0"
    assert fake.run("cat; echo nothing")[-1] == "nothing"


# -- errors --


@pytest.mark.parametrize(
    ("output", "details"),
    [
        (
            'CREATE TABLE\npsql:/w/one.sql:3: ERROR:  relation "x" does not exist\nLINE 1: x\n   ^',
            '/w/one.sql:3: ERROR:  relation "x" does not exist\nLINE 1: x\n   ^',
        ),
        (
            'ERROR:  column "nonsense" does not exist\nLINE 1: select nonsense;',
            'ERROR:  column "nonsense" does not exist\nLINE 1: select nonsense;',
        ),
        (
            "psql:<stdin>:2: ERROR:  syntax error",
            "<stdin>:2: ERROR:  syntax error",
        ),
        (
            "psql:/w/in:cl.sql:1: error: /w/nothing: No such file or directory",
            "/w/in:cl.sql:1: error: /w/nothing: No such file or directory",
        ),
        (
            "psql:/w/one.sql:1: FATAL:  terminating connection\npsql:/w/one.sql:1: server closed",
            "/w/one.sql:1: FATAL:  terminating connection\npsql:/w/one.sql:1: server closed",
        ),
        (
            "psql:<stdin>:2: ERROR:  went on\nCREATE TABLE\npsql:<stdin>:9: ERROR:  stopped",
            "<stdin>:9: ERROR:  stopped",
        ),
        (
            "psql:/i.sql:1: ERROR:  went on\npsql:/a.sql:2: ERROR:  too\n"
            "psql:/i.sql:1: FATAL:  terminating\npsql:/i.sql:1: error: connection lost",
            "/i.sql:1: FATAL:  terminating\npsql:/i.sql:1: error: connection lost",
        ),
        ("psql: error: could not connect", "psql: error: could not connect"),
        ("gone wrong\nsomehow", "psql ended with code 3\ngone wrong\nsomehow"),
        ("", "psql ended with code 3"),
    ],
)
def test_an_error_names_file_and_line(fake, output, details):
    (fake.root / "output").write_text(output)
    script = f"cat {fake.root}/output; exit 3"
    assert fake.failure(script) == ("psql execution failed", details)


def test_the_details_of_an_error_begin_there_and_are_limited(fake):
    script = "seq 100; echo 'ERROR:  bad'; head -c 100000 /dev/zero | tr '\\0' x; echo; exit 3"
    _, details = fake.failure(script)
    assert details.startswith("ERROR:  bad\nxxx")
    assert len(details) <= 8192


def test_an_error_is_looked_for_in_the_last_lines_only(fake):
    script = "echo 'ERROR:  caught by the script'; seq 100; exit 1"
    _, details = fake.failure(script)
    assert details.startswith("psql ended with code 1\n61\n")


def test_every_exit_code_but_zero_is_a_failed_step(fake):
    for code in (1, 2, 3, 127):
        assert fake.failure(f"exit {code}")[1] == f"psql ended with code {code}"
    assert fake.failure("kill -9 $$")[1] == "psql ended with code -9"


# -- the end --


def test_cancelling_interrupts_and_leaves_nothing(fake):
    started = threading.Event()

    def run():
        with pytest.raises(Cancelled):
            fake.run(
                "trap 'echo interrupted; exit 3' INT; sleep 600 & echo started; wait; sleep 600",
                on_line=lambda line: (fake.lines.append(line), started.set()),
            )

    with in_thread(run):
        assert started.wait(10)
        fake.cancellation.cancel()
    assert fake.lines == ["started", "interrupted"]
    eventually(lambda: not fake.processes())


def test_a_job_cancelled_before_does_not_run_on(fake):
    fake.cancellation.cancel()
    with pytest.raises(Cancelled):
        fake.run("sleep 600")


def test_a_failure_of_the_listener_ends_psql(fake):
    def broken(line):
        raise ValueError(line)

    with pytest.raises(ValueError, match="one"):
        fake.run("echo one; sleep 600", on_line=broken)
    eventually(lambda: not fake.processes())


def test_no_descriptor_is_left_open(fake):
    fake.run("true")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(5):
        fake.run("echo x", stdin="y")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
