"""Memory, as /proc tells it."""

import os
import subprocess
import sys

from sqlrs_engine.host.memory import USUAL_SERVER, Machine, ProcMemory


def test_the_machine(tmp_path):
    (tmp_path / "meminfo").write_text(
        "MemTotal:       24684084 kB\nMemFree:  1 kB\nMemAvailable:   22628 kB\n"
    )
    assert ProcMemory(tmp_path).machine() == Machine(24684084 * 1024, 22628 * 1024)


def test_it_may_not_tell(tmp_path):
    assert ProcMemory(tmp_path).machine() is None
    (tmp_path / "meminfo").write_text("MemTotal: 1 kB\n")
    assert ProcMemory(tmp_path).machine() is None


def test_this_machine():
    machine = ProcMemory().machine()
    assert machine is not None
    assert 0 < machine.available <= machine.total


def test_a_server_is_its_processes(tmp_path):
    for pid, size in ((7, 100), (8, 20), (9, 3)):
        task = tmp_path / str(pid) / "task" / str(pid)
        task.mkdir(parents=True)
        (task / "children").write_text("8 9 10 " if pid == 7 else "")
        (tmp_path / str(pid) / "smaps_rollup").write_text(
            f"55-7f ---p 00000000 00:00 0    [rollup]\nRss:   1000 kB\nPss:   {size} kB\n"
        )
    assert ProcMemory(tmp_path).server(7) == 123 * 1024


def test_one_that_cannot_be_measured_counts_as_usual(tmp_path):
    assert ProcMemory(tmp_path).server(7) == USUAL_SERVER


def test_a_real_process_with_a_child():
    script = "import subprocess as s; p = s.Popen(['cat'], stdin=0); print(flush=True); p.wait()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        own = ProcMemory().server(process.pid)
        process.stdin.close()
    assert own > 1024**2
    assert ProcMemory().server(os.getpid()) > 1024**2
