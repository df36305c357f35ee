"""Servers that end are noticed at once and restarted, but not without end."""

import subprocess
import threading

import pytest
from support import store_samples as samples
from support.waiting import eventually

from sqlrs_engine.instances import supervisor as supervisor_module
from sqlrs_engine.instances.supervisor import Supervisor
from sqlrs_engine.processes.identity import start_ticks


class Server:
    """A process in the place of a server, which ``revive`` starts again."""

    def __init__(self):
        self.ended = []
        self.revived = []
        self.fail = 0
        self.frail = False
        self.changing = threading.RLock()
        self.known = []
        self.supervisor = Supervisor(
            lambda: self.known, on_end=self.ended.append, revive=self.revive
        )
        self.process = None
        self.start()

    def start(self):
        if self.process is not None:
            self.kill()
        self.process = subprocess.Popen(["true"] if self.frail else ["sleep", "600"])

    @property
    def instance(self):
        pid = self.process.pid
        return samples.instance(1, runtime_id=f"{pid}.{start_ticks(pid)}")

    def revive(self, instance_id):
        self.revived.append(instance_id)
        if self.fail:
            self.fail -= 1
            raise OSError("too many open files")
        with self.changing:
            if self.process.poll() is None:
                return False
            self.restart()
            return True

    def restart(self):
        self.start()
        self.supervisor.watch(self.instance)

    def kill(self):
        with self.changing:
            self.process.kill()
            self.process.wait()

    def close(self):
        self.supervisor.stop()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(supervisor_module, "FIRST_PAUSE_SECONDS", 0.001)
    server = Server()
    yield server
    server.close()


def test_a_server_that_ends_is_started_again(server):
    server.known = [server.instance]
    server.supervisor.start()
    for count in (1, 2, 3):
        server.kill()
        eventually(
            lambda count=count: len(server.revived) == count and server.process.poll() is None
        )
    assert set(server.ended + server.revived) == {server.instance.instance_id}


def test_a_server_watched_later_takes_the_place_of_the_former(server):
    server.supervisor.start()
    server.supervisor.watch(server.instance)
    server.supervisor.watch(server.instance)
    first = server.process
    server.process = None
    server.restart()
    first.kill()
    first.wait()
    server.kill()
    eventually(lambda: server.revived and server.process.poll() is None)
    assert len(server.revived) == 1


def test_a_server_that_has_ended_before_it_is_watched_is_restarted(server):
    instance = server.instance
    server.supervisor.start()
    server.kill()
    server.supervisor.watch(instance)
    eventually(lambda: server.revived)


def test_a_pid_that_passed_to_another_process_is_not_the_server(server):
    server.supervisor.start()
    pid = server.process.pid
    server.supervisor.watch(samples.instance(1, runtime_id=f"{pid}.1"))
    eventually(lambda: server.revived)


def test_a_restart_that_fails_is_tried_again(server):
    server.fail = 3
    server.known = [server.instance]
    server.supervisor.start()
    server.kill()
    eventually(lambda: len(server.revived) == 4 and server.process.poll() is None)


def test_a_server_that_always_ends_is_left_down_after_some_attempts(server, caplog):
    server.frail = True
    server.known = [server.instance]
    server.supervisor.start()
    server.kill()
    eventually(lambda: "stays down" in caplog.text)
    assert len(server.revived) == supervisor_module.ATTEMPTS


@pytest.mark.parametrize("in_a_row", [1, 12])
def test_servers_stopped_on_purpose_do_not_count_as_attempts(server, caplog, in_a_row):
    server.known = [server.instance]
    server.supervisor.start()
    for _ in range(12 // in_a_row):
        before = len(server.revived)
        with server.changing:  # no revival in the meantime
            for _ in range(in_a_row):
                ended = len(server.ended)
                server.start()
                eventually(lambda ended=ended: len(server.ended) > ended)
                server.supervisor.watch(server.instance)
        eventually(lambda before=before: len(server.revived) > before)
    server.kill()
    eventually(lambda: server.process.poll() is None)
    assert "stays down" not in caplog.text


def test_a_supervisor_that_was_not_started_watches_nothing(server):
    server.supervisor.watch(server.instance)
    server.kill()
    server.supervisor.stop()
    assert server.revived == []


def test_an_instance_without_a_server_is_not_restarted(server):
    server.known = [samples.instance(1, runtime_id=None)]
    server.supervisor.start()
    assert server.revived == []


def test_a_stopped_supervisor_restarts_nothing(server):
    server.known = [server.instance]
    server.supervisor.start()
    server.supervisor.stop()
    server.kill()
    assert server.revived == []
