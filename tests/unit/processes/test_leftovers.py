"""Processes that programs leave behind."""

import os
import subprocess
import sys

from support.waiting import eventually

from sqlrs_engine.processes.leftovers import kill_leftovers, mark

DAEMON = """
import os, signal, sys
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1], "w") as file:
    file.write(str(os.getpid()) + "\\n")
signal.pause()
"""


def start_daemon(directory, pid_file):
    subprocess.run(
        [sys.executable, "-c", DAEMON, pid_file],
        env={**os.environ, **mark(directory)},
        check=True,
        start_new_session=True,
    )
    eventually(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"), "the daemon")
    return int(pid_file.read_text())


def test_daemons_are_found_and_killed(tmp_path):
    pid = start_daemon(tmp_path / "one", tmp_path / "pid")
    other = start_daemon(tmp_path / "one-more", tmp_path / "other")
    assert kill_leftovers(tmp_path / "one", 10) == [pid]
    assert kill_leftovers(tmp_path / "one", 10) == []
    assert kill_leftovers(tmp_path / "one-more", 10) == [other]
