"""pgdump.source: connections in all the ways in which libpq takes them, and their passwords."""

import pytest

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.pgdump.source import Source


def test_a_url_becomes_variables_of_the_environment() -> None:
    environ = {"PATH": "/bin", "PGPASSWORD": "of the environment", "PGPORT": "1"}
    source = Source.parse("postgres://me:p%40ss@db:5433/app?sslmode=require", environ)
    assert source.program_environment() == {
        "PATH": "/bin",
        "PGPASSWORD": "p@ss",
        "PGPORT": "5433",
        "PGUSER": "me",
        "PGHOST": "db",
        "PGDATABASE": "app",
        "PGSSLMODE": "require",
    }
    assert source.program_arguments() == []
    assert source.parameters()["password"] == "p@ss"


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("", {}),
        ("app", {"dbname": "app"}),
        ("host=db dbname='my app'", {"host": "db", "dbname": "my app"}),
        ("service=prod", {"service": "prod"}),
        ("postgresql:///app?host=/run/pg", {"dbname": "app", "host": "/run/pg"}),
    ],
)
def test_other_forms(text: str, given: dict[str, str]) -> None:
    source = Source.parse(text, {})
    assert source.given == given


def test_the_environment_fills_in_what_is_not_given() -> None:
    environ = {"PGHOST": "db", "PGUSER": "me", "PGPASSWORD": "secret", "PGDATABASE": ""}
    source = Source.parse("app", environ)
    assert source.parameters() == {
        "dbname": "app",
        "host": "db",
        "user": "me",
        "password": "secret",
    }


@pytest.mark.parametrize("given", [True, False])
def test_a_service_comes_before_the_environment(given: bool) -> None:
    environ = {"PGHOST": "elsewhere"} | ({} if given else {"PGSERVICE": "prod"})
    source = Source.parse("service=prod" if given else "dbname=app", environ)
    expected = {"service": "prod"} if given else {"service": "prod", "dbname": "app"}
    assert source.parameters() == expected
    assert source.program_environment()["PGSERVICE"] == "prod"


def test_parameters_without_a_variable_are_arguments_unless_they_are_secret() -> None:
    source = Source.parse("postgres://db/app?keepalives_idle=5&application_name=x", {})
    assert source.program_arguments() == ["--dbname=keepalives_idle=5"]
    with pytest.raises(InvalidArgument, match="sslpassword cannot be used") as failure:
        Source.parse("host=db sslpassword=s3cret", {})
    assert "s3cret" not in str(failure.value)


@pytest.mark.parametrize(
    "text", ["postgres://me:s3cret@[db/app", "host=db s3cret", "postgres://me:a@s3cret@db/app"]
)
def test_a_connection_that_cannot_be_read_is_not_quoted(text: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot read the connection") as failure:
        Source.parse(text, {})
    assert "s3cret" not in str(failure.value)
    assert "%40" in str(failure.value)


def test_messages_are_redacted() -> None:
    source = Source.parse("postgres://me:s3cret@db/app", {})
    assert source.redacted("no s3cret here") == "no ******** here"
    assert Source.parse("app", {"PGPASSWORD": "x1y"}).redacted("x1y") == "********"
    assert Source.parse("app", {}).redacted("as it is") == "as it is"
    assert "s3cret" not in repr(source)


def test_a_password_can_be_added() -> None:
    source = Source.parse("postgres://me@db/app", {}).with_password("typed")
    assert source.program_environment()["PGPASSWORD"] == "typed"
