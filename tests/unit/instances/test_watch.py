"""Servers that end: noticed at once, started again, not for ever."""

import subprocess
import threading

import pytest
from support import store_samples as samples
from support.waiting import eventually

from sqlrs_engine.instances import watch as watch_module
from sqlrs_engine.instances.watch import Watch
from sqlrs_engine.processes.identity import start_ticks


class Server:
    """A process in the place of a server, started anew by ``revive``."""

    def __init__(self):
        self.ended = []
        self.revived = []
        self.fail = 0
        self.frail = False
        self.changing = threading.RLock()
        self.watch = Watch(self.ended.append, self.revive)
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
        self.watch.see(self.instance)

    def kill(self):
        with self.changing:
            self.process.kill()
            self.process.wait()

    def close(self):
        self.watch.stop()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(watch_module, "FIRST_PAUSE_SECONDS", 0.001)
    server = Server()
    yield server
    server.close()


def test_a_server_that_ends_is_started_again(server):
    server.watch.start(lambda: [server.instance])
    for count in (1, 2, 3):
        server.kill()
        eventually(
            lambda count=count: len(server.revived) == count and server.process.poll() is None
        )
    assert set(server.ended + server.revived) == {server.instance.instance_id}


def test_a_server_seen_later_is_watched_in_place_of_the_former(server):
    server.watch.start(list)
    server.watch.see(server.instance)
    server.watch.see(server.instance)
    first = server.process
    server.process = None
    server.restart()
    first.kill()
    first.wait()
    server.kill()
    eventually(lambda: server.revived and server.process.poll() is None)
    assert len(server.revived) == 1


def test_a_server_that_has_ended_before_it_is_seen(server):
    instance = server.instance
    server.watch.start(list)
    server.kill()
    server.watch.see(instance)
    eventually(lambda: server.revived)


def test_a_pid_that_passed_to_another_process_is_not_the_server(server):
    server.watch.start(list)
    pid = server.process.pid
    server.watch.see(samples.instance(1, runtime_id=f"{pid}.1"))
    eventually(lambda: server.revived)


def test_what_cannot_be_started_now_is_tried_again(server):
    server.fail = 3
    server.watch.start(lambda: [server.instance])
    server.kill()
    eventually(lambda: len(server.revived) == 4 and server.process.poll() is None)


def test_a_server_that_always_ends_is_left_alone_at_last(server, caplog):
    server.frail = True
    server.watch.start(lambda: [server.instance])
    server.kill()
    eventually(lambda: "stays down" in caplog.text)
    assert len(server.revived) == watch_module.ATTEMPTS


@pytest.mark.parametrize("in_a_row", [1, 12])
def test_ends_on_purpose_do_not_count(server, caplog, in_a_row):
    server.watch.start(lambda: [server.instance])
    for _ in range(12 // in_a_row):
        before = len(server.revived)
        with server.changing:  # nobody looks after the server meanwhile
            for _ in range(in_a_row):
                ended = len(server.ended)
                server.start()
                eventually(lambda ended=ended: len(server.ended) > ended)
                server.watch.see(server.instance)
        eventually(lambda before=before: len(server.revived) > before)
    server.kill()
    eventually(lambda: server.process.poll() is None)
    assert "stays down" not in caplog.text


def test_an_idle_watch_knows_of_nothing(server):
    server.watch.see(server.instance)
    server.kill()
    server.watch.stop()
    assert server.revived == []


def test_an_instance_without_a_server_is_passed_over(server):
    server.watch.start(lambda: [samples.instance(1, runtime_id=None)])
    assert server.revived == []


def test_a_watch_that_has_ended_restarts_nothing(server):
    server.watch.start(lambda: [server.instance])
    server.watch.stop()
    server.kill()
    assert server.revived == []
