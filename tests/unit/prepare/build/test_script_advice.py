"""Advice about scripts that expect variables of psql, or another cluster than a new one."""

import pytest

from sqlrs_engine.prepare.build.script_advice import archive_advice, script_advice


def at_colon(line):
    before = "LINE 1: "
    caret = " " * (len(before) + line.index(":", line.index("|") + 1) - 1) + "^"
    return f'syntax error at or near ":"\n{before}{line.replace("|", "")}\n{caret}'


@pytest.mark.parametrize(
    "line",
    [
        "GRANT a TO |:PGUSER;",
        'GRANT a TO |:"PGUSER";',
        "SELECT a::text, |:'PGUSER';",
        "... b TO |:PGUSER;",
    ],
)
def test_a_variable_of_psql_that_is_not_set(line):
    said = script_advice(at_colon(line))
    assert said.startswith("psql has not replaced the variable PGUSER: set it with -v PGUSER=VALUE")


def test_a_colon_that_is_no_variable_is_a_mistake_of_the_script():
    assert script_advice(at_colon("SELECT a |: b;")) is None
    assert script_advice('syntax error at or near ":"') is None


@pytest.mark.parametrize("kind", ["extension", "language"])
def test_plpgsql_is_there_from_the_start(kind):
    said = script_advice(f'{kind} "plpgsql" already exists')
    assert said.startswith("every state has plpgsql")


def test_an_extension_that_a_script_of_the_image_has_created():
    said = script_advice('extension "postgis" already exists')
    assert said.endswith("has created postgis: write CREATE EXTENSION IF NOT EXISTS")


def test_oids_are_gone():
    said = script_advice('syntax error at or near "OIDS"\nLINE 1: CREATE TABLE t () WITH OIDS;')
    assert said.endswith("leave WITH OIDS out of the script")


def test_a_dump_of_a_newer_version():
    said = script_advice('unrecognized configuration parameter "transaction_timeout"')
    assert "prepare with --image postgres:17 or newer" in said
    assert script_advice('unrecognized configuration parameter "my_own"') is None


def test_archives_are_no_scripts():
    restore = "with sqlrs-engine prepare --dump FILE"
    assert restore in archive_advice("The input is a PostgreSQL custom-format dump.\nUse …")
    assert restore in script_advice('could not open file "$$PATH$$/3057.dat" for reading: No …')
    assert archive_advice("psql ended with code 1") is None


def test_a_file_that_the_server_may_not_read():
    said = script_advice('could not open file "/srv/a.csv" for reading: Permission denied')
    assert said.startswith("the server's user may not open /srv/a.csv: load it with psql's \\copy")
    assert script_advice('could not open file "a.csv" for reading: No such file') is None


def test_scripts_in_other_encodings():
    message = 'invalid byte sequence for encoding "UTF8": {}'.format
    assert "iconv -f UTF-16" in script_advice(message("0xff"))
    assert "SET client_encoding" in script_advice(message("0xe3 0x6f 0x27"))


@pytest.mark.parametrize(
    "message",
    [
        'encoding "LATIN1" does not match locale "C.UTF-8"',
        "new encoding (LATIN1) is incompatible with the encoding of the template database (UTF8)",
    ],
)
def test_databases_in_other_encodings(message):
    said = script_advice(message)
    assert said.startswith("databases in LATIN1 need TEMPLATE template0 LOCALE 'C'")


def test_a_database_that_no_script_has_created():
    said = script_advice('database "shop" does not exist')
    assert "create shop before" in said
    assert "pg_dumpall --clean --if-exists" in said


def test_a_grantor_that_is_not_the_first_superuser():
    said = script_advice('permission denied to grant privileges as role "cloud_admin"\nDETAIL: …')
    assert said.endswith("(sed 's/ GRANTED BY cloud_admin;/;/')")


@pytest.mark.parametrize("message", ['syntax error at or near "x"', 'type "citext" already exists'])
def test_other_errors_have_no_advice(message):
    assert script_advice(message) is None
