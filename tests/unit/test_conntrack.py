"""Reading who uses a cluster."""

from contextlib import contextmanager

import psycopg
import pytest

from sqlrs_engine.conntrack import IDLE, Conntrack, Reading
from sqlrs_engine.errors import ClusterFailed


class Answers:
    """A cluster whose connections and readings are given, by database."""

    def __init__(self, **by_database):
        self.by_database = by_database
        self.asked = []

    @contextmanager
    def connect(self, port, dbname="postgres"):
        self.asked.append(dbname)
        answer = self.by_database[dbname]
        if isinstance(answer, Exception):
            raise answer
        self.answer = answer
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
    assert Conntrack().read(Answers(postgres=(2, 7)), 5432) == Reading(2, 7)


def test_another_database_is_asked_when_the_first_was_dropped():
    cluster = Answers(postgres=refused('database "postgres" does not exist'), template1=(0, 3))
    assert Conntrack().read(cluster, 5432) == Reading(0, 3)
    assert cluster.asked == ["postgres", "template1"]


@pytest.mark.parametrize(
    "text",
    [
        "sorry, too many clients already",
        "remaining connection slots are reserved for roles with the SUPERUSER attribute",
        'too many connections for database "postgres"',
    ],
)
def test_a_full_cluster_is_in_use(text):
    assert Conntrack().read(Answers(postgres=refused(text)), 5432).connections == 1


@pytest.mark.parametrize(
    "failure",
    [
        refused("the database system is starting up"),
        refused('role "sqlrs" is not permitted to log in'),
        psycopg.errors.QueryCanceled("canceling statement due to statement timeout"),
    ],
)
def test_a_cluster_that_cannot_answer_is_idle(failure, caplog):
    assert Conntrack().read(Answers(postgres=failure), 5432) == IDLE
    assert "cannot read" in caplog.text
