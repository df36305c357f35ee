"""Sessions that wait for the next job."""

from support.liquibase_fakes import answering, plan
from support.waiting import eventually

from sqlrs_engine.prepare.liquibase.session_pool import SessionPool


def test_one_session_waits_for_the_same_arguments(start):
    sessions = SessionPool()
    one, two = (start(answering(plan())) for _ in range(2))
    sessions.give_back(["a"], one)
    assert sessions.take(["a"], lambda: two) is one
    sessions.give_back(["a"], one)
    assert sessions.take(["b"], lambda: two) is two
    sessions.give_back(["b"], two)  # in place of the other
    assert not one.idle
    assert two.idle
    sessions.close()
    assert not two.idle
    three = start(answering(plan()))
    sessions.give_back(["c"], three)
    assert not three.idle


def test_a_waiting_session_ends_after_a_while(start):
    sessions = SessionPool(idle_seconds=0.01)
    one = start(answering(plan()))
    sessions.give_back(["a"], one)
    eventually(lambda: not one.idle)
    two = start(answering(plan()))
    assert sessions.take(["a"], lambda: two) is two
    sessions.close()


def test_a_session_that_died_is_not_lent(start):
    sessions = SessionPool()
    dead = start("exit 1")
    eventually(lambda: not dead.idle)
    sessions.give_back(["a"], dead)
    other = start(answering(plan()))
    assert sessions.take(["a"], lambda: other) is other
