"""Each test changes the database freely; no test sees the changes of another."""

import psycopg
import pytest


def test_every_trip_is_paid_by_its_plan(database):
    database.execute("UPDATE plan SET minute_price = 100 WHERE name = 'pay as you go'")
    database.execute("UPDATE trip SET ended_at = ended_at WHERE trip_id = 1")
    database.execute("TRUNCATE bike_history")
    row = database.execute(
        "SELECT t.fare = fare(p, t.minutes, b.electric)"
        " FROM trip t JOIN rider r USING (rider_id) JOIN plan p USING (plan_id)"
        " JOIN bike b USING (bike_id) WHERE t.trip_id = 1"
    ).fetchone()
    assert row == (True,)


def test_the_history_is_still_there(database):
    assert database.execute("SELECT count(*) > 0 FROM bike_history").fetchone() == (True,)


def test_a_bike_has_one_rider_at_a_time(database):
    with pytest.raises(psycopg.errors.ExclusionViolation):
        database.execute(
            "INSERT INTO trip (bike_id, rider_id, from_station, to_station, started_at, ended_at)"
            " SELECT bike_id, 1, 1, 2, started_at, ended_at FROM trip LIMIT 1"
        )


def test_all_trips_are_there(database):
    database.execute("DELETE FROM trip")
    assert database.execute("SELECT count(*) FROM trip").fetchone() == (0,)
    database.rollback()
    assert database.execute("SELECT count(*) FROM trip").fetchone() == (4000,)
