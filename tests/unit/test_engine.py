"""engine: the parts put together; no PostgreSQL runs."""

import subprocess
import sys

import pytest
import store_samples as samples

from sqlrs_engine.engine import Engine
from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.request import PrepareRequest

STUCK = """
import threading, time
from sqlrs_engine.engine import _leave_if_stuck

class Engine:
    def stuck(self):
        return STUCK

threading.Thread(target=time.sleep, args=(SECONDS,)).start()  # not a daemon, as pools' are
_leave_if_stuck(Engine())
print("went on")
"""


@pytest.fixture
def engine(tmp_path):
    engine = Engine(tmp_path)
    yield engine
    engine.stop()
    engine.close()


def test_a_part_that_does_not_stop_does_not_keep_the_others_from_it(engine, monkeypatch, caplog):
    stopped = []

    def fail(seconds):
        raise OSError("the disk is gone")

    monkeypatch.setattr(engine.runs, "shutdown", fail)
    monkeypatch.setattr(engine.instances, "stop_reaper", lambda: stopped.append("reaper"))
    engine.stop()
    assert stopped == ["reaper"]
    assert engine.prepare.events.broken_off("any job")
    assert "did not stop as it should" in caplog.text


@pytest.mark.parametrize(("stuck", "printed"), [(True, ""), (False, "went on\n")])
def test_threads_still_at_work_do_not_outlive_the_engine(stuck, printed):
    program = STUCK.replace("STUCK", str(stuck)).replace("SECONDS", "60" if stuck else "0")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == printed


def test_recovery_drops_doubtful_states_before_it_revives_instances(engine, monkeypatch):
    order = []
    engine.store.states.add(samples.state(1, boot_id="another boot"))
    monkeypatch.setattr(
        engine.instances,
        "recover",
        lambda: order.append(engine.store.states.get(samples.state(1).state_id)),
    )
    engine._recover()
    assert order == [None]


@pytest.mark.parametrize("path", ["/" + "x" * 300, "/no/such/directory"])
def test_a_working_directory_that_cannot_be_is_refused(path):
    body = {"prepare_kind": "psql", "image_id": "postgres", "work_dir": path}
    with pytest.raises(InvalidArgument, match="work_dir"):
        PrepareRequest.from_json(body)
