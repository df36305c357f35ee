"""The end of a run's database sessions."""

from collections import Counter

import pytest
from support.run_fakes import RunsWorld
from support.waiting import PATIENCE

from sqlrs_engine.errors import ClusterFailed
from sqlrs_engine.runs import sessions


@pytest.fixture
def world():
    world = RunsWorld()
    yield world
    world.runs.shutdown(PATIENCE)
    assert world.runs.active() == 0


def end(world, patience=0.0):
    sessions.end_sessions(world, 20000, "psql-1", patience)


def test_a_run_without_sessions_left_asks_once(world):
    world.read()
    ((terminates, application),) = world.asked
    assert not terminates
    assert application == world.started[0][2]["PGAPPNAME"]
    assert world.connected == 0


def test_sessions_on_their_way_out_are_waited_for(world):
    world.left = [2, 1]
    end(world, patience=PATIENCE)
    assert world.asked == [(False, "psql-1")] * 3


def test_sessions_that_stay_are_terminated(world, monkeypatch):
    monkeypatch.setattr(sessions, "POLL_SECONDS", 0.02)
    world.left = [1] * 5
    end(world, patience=0.03)
    assert Counter(terminates for terminates, _ in world.asked)[True] >= 3
    assert world.asked[-1] == (True, "psql-1")


def test_sessions_of_a_cancelled_run_are_terminated_at_once(world):
    world.script = "sleep 100"
    world.open().cancel()
    assert [terminates for terminates, _ in world.asked] == [True]


def test_a_session_that_does_not_end_is_reported(world, monkeypatch, caplog):
    monkeypatch.setattr(sessions, "GONE_SECONDS", 0.05)
    world.left = [1] * 1000
    end(world)
    assert "psql-1 does not end" in caplog.text


@pytest.mark.parametrize("error", [ClusterFailed("cannot connect", "refused"), FileNotFoundError()])
def test_a_server_that_cannot_be_asked_is_left_alone(world, error):
    world.fail_connect = error
    end(world)
    assert world.asked == []
