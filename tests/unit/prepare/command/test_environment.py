"""The environment of a command."""

import pytest

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.command.environment import Environment, base_environment


def connected(env=None, base_env=None):
    return Environment.of(env or {}, base_env or {"PATH": "/bin"}).connected(45123, "pa-ss_1")


def test_the_connection_and_fixed_variables_are_all_there_is():
    assert connected() == {
        "PATH": "/bin",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "DATABASE_URL": "postgresql://sqlrs:pa-ss_1@127.0.0.1:45123/postgres",
        "SQLRS_JDBC_URL": "jdbc:postgresql://127.0.0.1:45123/postgres?user=sqlrs&password=pa-ss_1",
        "PGHOST": "127.0.0.1",
        "PGPORT": "45123",
        "PGUSER": "sqlrs",
        "PGPASSWORD": "pa-ss_1",
        "PGDATABASE": "postgres",
        "PGSSLMODE": "disable",
    }


def test_without_base_env_the_places_are_those_of_the_engine(monkeypatch):
    monkeypatch.setenv("PATH", "/engine/bin")
    monkeypatch.setenv("HOME", "/home/engine")
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    variables = Environment.of({}, {}).unconnected
    assert variables["PATH"] == "/engine/bin"
    assert variables["HOME"] == "/home/engine"
    assert variables.keys().isdisjoint({"SECRET", "LC_ALL"})


def test_base_env_replaces_all_of_them(monkeypatch):
    monkeypatch.setenv("VIRTUAL_ENV", "/engine/venv")
    assert Environment.of({}, {"PATH": "/bin"}).base == {"PATH": "/bin"}
    assert Environment.of({}, {"HOME": "/home/me"}).base.keys() == {"PATH", "HOME"}


def test_clients_send_where_programs_are_and_no_more():
    environ = {"PATH": "/bin", "VIRTUAL_ENV": "/venv", "TZ": "Asia/Tokyo", "TOKEN": "x"}
    assert base_environment(environ) == {"PATH": "/bin", "VIRTUAL_ENV": "/venv"}


def test_env_goes_first():
    variables = connected({"PATH": "/app/bin", "TZ": "Asia/Tokyo", "APP_ENV": "test"})
    assert variables["PATH"] == "/app/bin"
    assert variables["TZ"] == "Asia/Tokyo"
    assert variables["APP_ENV"] == "test"


def test_placeholders_stand_for_the_connection():
    variables = connected(
        {
            "DB": "{DATABASE_URL}",
            "SQLALCHEMY": "postgresql+psycopg://{PGUSER}:{PGPASSWORD}@{PGHOST}:{PGPORT}/{PGDATABASE}",
            "FLYWAY_URL": "{SQLRS_JDBC_URL}",
            "JSON": '{"a": {PGPORT}, "b": "{OTHER}", "c": "{}"}',
        }
    )
    assert variables["DB"] == variables["DATABASE_URL"]
    assert variables["SQLALCHEMY"] == "postgresql+psycopg://sqlrs:pa-ss_1@127.0.0.1:45123/postgres"
    assert variables["FLYWAY_URL"] == variables["SQLRS_JDBC_URL"]
    assert variables["JSON"] == '{"a": 45123, "b": "{OTHER}", "c": "{}"}'


def test_another_database_is_in_all_forms_of_the_connection():
    variables = connected({"PGDATABASE": "my app", "X": "{PGDATABASE}"})
    assert variables["PGDATABASE"] == variables["X"] == "my app"
    assert variables["DATABASE_URL"].endswith(":45123/my%20app")
    assert variables["SQLRS_JDBC_URL"].startswith("jdbc:postgresql://127.0.0.1:45123/my%20app?")


def test_the_url_may_have_another_form():
    assert connected({"DATABASE_URL": "{DATABASE_URL}?sslmode=disable"})["DATABASE_URL"] == (
        "postgresql://sqlrs:pa-ss_1@127.0.0.1:45123/postgres?sslmode=disable"
    )
    other = connected({"DATABASE_URL": "postgresql+asyncpg://{PGHOST}:{PGPORT}/x"})
    assert other["DATABASE_URL"] == "postgresql+asyncpg://127.0.0.1:45123/x"


@pytest.mark.parametrize(
    "name",
    [
        "DATABASE_URL",
        "SQLRS_JDBC_URL",
        "PGHOST",
        "PGHOSTADDR",
        "PGPORT",
        "PGUSER",
        "PGPASSWORD",
        "PGPASSFILE",
        "PGSERVICE",
        "PGSERVICEFILE",
        "PGSSLMODE",
        "SQLRS_WORKSPACE",
    ],
)
def test_env_cannot_lead_elsewhere(name):
    with pytest.raises(InvalidArgument, match="env cannot set this variable") as refused:
        Environment.of({name: "x"}, {})
    assert name in refused.value.details


@pytest.mark.parametrize(
    ("env", "base_env", "reason"),
    [
        ({"": "x"}, {}, "invalid name"),
        ({"A=B": "x"}, {}, "invalid name"),
        ({"A": 1}, {}, "no text"),
        ({"A": "x\0"}, {}, "NUL"),
        ({"A": "\udcff"}, {}, "not in UTF-8"),
        ({}, {"DATABASE_URL": "x"}, "base_env cannot have this variable"),
        ({}, {"LANG": "C"}, "set it in env"),
    ],
)
def test_variables_that_are_refused(env, base_env, reason):
    with pytest.raises(InvalidArgument, match=reason):
        Environment.of(env, base_env)


def test_a_version_command_does_not_see_the_database():
    environment = Environment.of({"A": "a", "URL": "{DATABASE_URL}"}, {"PATH": "/bin"})
    assert environment.unconnected == {"PATH": "/bin", "LANG": "C.UTF-8", "TZ": "UTC", "A": "a"}
