"""Reading who uses a cluster."""

from contextlib import contextmanager

import psycopg
import pytest

from sqlrs_engine.conntrack import IDLE, Conntrack, Reading
from sqlrs_engine.errors import ClusterFailed


class Answers:
    """A cluster whose reading, or failure, is given."""

    def __init__(self, answer):
        self.answer = answer

    @contextmanager
    def connect_to_any(self, port):
        if isinstance(self.answer, Exception):
            raise self.answer
        yield self

    def execute(self, statement, parameters=()):
        return self

    def fetchone(self):
        return self.answer


def refused(text):
    return ClusterFailed("cannot connect to PostgreSQL", f"connection failed: FATAL:  {text}")


@pytest.mark.parametrize(
    ("reading", "used"),
    [
        (Reading(connections=0, sessions=11), False),  # the reading's own session
        (Reading(connections=0, sessions=12), True),
        (Reading(connections=0, sessions=10), True),  # one of them was not the engine's
        (Reading(connections=0, sessions=1), True),  # the counter was reset
        (Reading(connections=1, sessions=11), True),
        (Reading(connections=0), False),
        (Reading(connections=1), True),
        (IDLE, False),
    ],
)
def test_use_since_ten_sessions(reading, used):
    assert reading.shows_use_since(10) is used


def test_a_reading():
    assert Conntrack().read(Answers((2, 7)), 5432) == Reading(2, 7)


@pytest.mark.parametrize(
    "text",
    [
        "sorry, too many clients already",
        "remaining connection slots are reserved for roles with the SUPERUSER attribute",
        'too many connections for database "postgres"',
    ],
)
def test_a_full_cluster_is_in_use(text):
    assert Conntrack().read(Answers(refused(text)), 5432).connections == 1


@pytest.mark.parametrize(
    "failure",
    [
        refused("the database system is starting up"),
        refused('role "sqlrs" is not permitted to log in'),
        psycopg.errors.QueryCanceled("canceling statement due to statement timeout"),
    ],
)
def test_a_cluster_that_cannot_answer_is_idle(failure, caplog):
    assert Conntrack().read(Answers(failure), 5432) == IDLE
    assert "cannot read" in caplog.text
