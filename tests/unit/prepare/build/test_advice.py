"""Advice about errors of steps that have a known remedy."""

from pathlib import Path

import pytest

from sqlrs_engine.errors import StepFailed
from sqlrs_engine.postgres.base_recipe import BaseRecipe
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.build import advice as module

BASE = BaseRecipe(roles=("app",))
BUNDLED = Distribution(
    image_id="postgres@sha256:" + "0" * 64,
    version="18.6",
    major=18,
    bin_dir=Path("/bundled/bin"),
    origin="wheel",
)


def nothing_here(extension):
    return []


def advice_on(details, base):
    found = module.advice_on(details, base, BUNDLED, nothing_here)
    return found and found[0]


def advised(base):
    return module.advised(base, BUNDLED, nothing_here)


@pytest.mark.parametrize("role", ["postgres", "sqlrs"])
@pytest.mark.parametrize("state", ["", "42710: "])
def test_a_role_of_every_state_that_is_created_again_is_explained(role, state):
    details = f'dump.sql:3: ERROR:  {state}role "{role}" already exists'
    advice = advice_on(details, BASE)
    assert advice.startswith(f"the role {role} exists in every state")
    assert "restore the output of pg_dumpall with sqlrs-engine prepare --dump FILE" in advice


def test_the_role_that_no_script_can_drop_is_explained_alike():
    details = "a.sql:9: ERROR:  cannot drop role postgres because it is required by the database"
    assert "the role postgres exists in every state" in advice_on(details, BASE)


def test_the_role_that_runs_the_script_is_explained_alike():
    said = advice_on("a.sql:9: ERROR:  current user cannot be dropped", BASE)
    assert "the role sqlrs exists in every state" in said


def test_a_configured_role_that_is_created_again_is_explained():
    advice = advice_on('a.sql:1: ERROR:  role "app" already exists', BASE)
    assert "app is one of postgres.roles" in advice


def test_a_role_that_scripts_create_twice_is_their_mistake():
    assert advice_on('a.sql:1: ERROR:  role "other" already exists', BASE) is None


def test_the_servers_own_error_counts_more_than_what_a_command_prints():
    printed = "./migrate ended with code 1\nerror: create role app - it exists"
    server = 'the server\'s last error:\nERROR:  role "app" already exists'
    assert advice_on(printed, BASE) is None
    assert "app is one of postgres.roles" in advice_on(f"{printed}\n{server}", BASE)


@pytest.mark.parametrize(
    "details",
    [
        'a.sql:7: ERROR:  role "web_anon" does not exist\nLINE 1: …',
        "a.sql:7: error: \\connect: connection to server on socket failed: "
        'FATAL:  role "web_anon" does not exist',
        'changeset a::1::me: Migration failed: Reason: ERROR: role "web_anon" does not exist '
        "[Failed SQL: (0) ALTER TABLE t OWNER TO web_anon]",
    ],
)
def test_a_missing_role_comes_with_the_command_that_adds_it(details):
    advice = advice_on(details, BASE)
    assert advice.endswith("""sqlrs-engine config set postgres.roles '["app", "web_anon"]'""")


def test_the_command_is_safe_for_a_shell_whatever_the_name_of_the_role():
    advice = advice_on("""a.sql:7: ERROR:  role "o'neil" does not exist""", BASE)
    assert advice.endswith("""postgres.roles '["app", "o'"'"'neil"]'""")


@pytest.mark.parametrize(
    "details",
    [
        "",
        'a.sql:1: ERROR:  relation "role" already exists',
        'a.sql:1: ERROR:  syntax error\nNOTICE: ERROR:  role "postgres" already exists',
        'a.sql:1: ERROR:  column "x" of relation "role" does not exist',
    ],
)
def test_other_errors_have_no_advice(details):
    assert advice_on(details, BASE) is None


def test_advice_follows_the_details_of_a_step_that_fails():
    details = 'a.sql:1: ERROR:  role "postgres" already exists'
    with pytest.raises(StepFailed, match="psql execution failed") as caught, advised(BASE):
        raise StepFailed("psql execution failed", details)
    assert caught.value.message == "psql execution failed"
    assert caught.value.details.startswith(f"{details}\nadvice: ")


@pytest.mark.parametrize(
    ("details", "remedy"),
    [
        ('a.sql:1: ERROR:  type "vector" does not exist\nLINE 1: …', "create it before this step"),
        ('a.sql:1: ERROR:  tablespace "fast" does not exist', "pg_dump --no-tablespaces"),
        ("a.sql:1: ERROR:  0A000: ICU is not supported in this build", "built without ICU"),
        (
            'a.sql:1: error: \\connect: … FATAL:  database "shop" does not exist',
            "create shop before",
        ),
        ("psql ended with code 1\nThe input is a PostgreSQL custom-format dump.", "--dump FILE"),
    ],
)
def test_what_dumps_and_fixtures_expect_comes_with_a_remedy(details, remedy):
    assert remedy in advice_on(details, BASE)


def test_a_step_that_fails_otherwise_keeps_its_error():
    error = StepFailed("psql execution failed", "a.sql:1: ERROR:  syntax error")
    with pytest.raises(StepFailed) as caught, advised(BASE):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    "details",
    [
        'a.sql:1: ERROR:  extension "postgis" is not available\nDETAIL:  Could not open …',
        'a.sql:1: ERROR:  0A000: extension "postgis" is not available',
        "a.sql:1: ERROR:  could not open extension control file "
        '"/usr/share/postgresql/14/extension/postgis.control": No such file or directory',
        'a.sql:9: ERROR:  could not access file "$libdir/postgis-3": No such file or directory',
        'a.sql:9: ERROR:  could not load library "/usr/lib/postgresql/15/lib/postgis-3.so": '
        "libgeos_c.so.1: cannot open shared object file: No such file or directory",
        'changeset a::1::me: Migration failed: Reason: ERROR: extension "postgis" is not '
        "available [Failed SQL: (0) CREATE EXTENSION postgis]",
    ],
)
def test_a_missing_extension_comes_with_the_command_that_brings_it(details):
    with pytest.raises(StepFailed) as caught, advised(BASE):
        raise StepFailed("psql execution failed", details)
    assert caught.value.details == (
        f"{details}\nadvice: PostgreSQL 18.6 has no extension postgis: run sqlrs-engine postgres "
        "pull postgis/postgis:18-3.6, and prepare with --image postgis/postgis:18-3.6"
    )
    assert caught.value.facts == {"extension": "postgis", "pull": "postgis/postgis:18-3.6"}


@pytest.mark.parametrize(
    "printed",
    [
        'psycopg.errors.DuplicateObject: role "app" already exists',
        'sqlalchemy.exc.Error: (psycopg2.errors.DuplicateObject) role "app" already exists',
        'Error: pq: role "app" already exists',
        'migrating\nerror: role "app" already exists\n    at Parser.parse',
        'PG::DuplicateObject: ERROR:  role "app" already exists',
    ],
)
def test_errors_as_the_drivers_of_other_programs_print_them(printed):
    assert "app is one of postgres.roles" in advice_on(printed, BASE)
