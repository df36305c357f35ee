"""An image whose programs need musl instead of the GNU C library, as Alpine's do."""

import psycopg
import pytest
from support.fix_engine import EngineProcess
from support.fix_images import PushedImage
from support.image_engines import value

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


def test_an_image_with_musl_runs(pulling_engine: EngineProcess, musl_postgres: PushedImage) -> None:
    result = pulling_engine.prepare("-c", "create extension hstore", image=musl_postgres.reference)
    assert value(result["dsn"], "select 'a=>1'::hstore -> 'a'") == "1"
    summer = "timestamptz '2026-07-01 12:00 Europe/Warsaw' at time zone 'UTC'"
    assert str(value(result["dsn"], f"select {summer}")) == "2026-07-01 10:00:00"
    with psycopg.connect(result["dsn"]) as connection:
        row = connection.execute(
            "select pg_encoding_to_char(encoding) from pg_database where datname = 'postgres'"
        ).fetchone()
        assert row == ("UTF8",)
    again = pulling_engine.prepare("-c", "create extension hstore", image=musl_postgres.reference)
    assert again["state_id"] == result["state_id"]
