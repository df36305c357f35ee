"""prepare.dump.advice: what to do about errors that only restores have."""

import pytest

from sqlrs_engine.errors import StepFailed
from sqlrs_engine.prepare.dump.advice import advised
from sqlrs_engine.prepare.dump.options import RestoreOptions

NO_ROLE = 'ERROR:  role "app" does not exist'
NO_SCHEMA = 'ERROR:  schema "audit" does not exist'
NO_FILE = "line 3\nerror: schema/types.sql: No such file or directory"


def details(error, *args, is_plain=False, create_roles=True):
    """The details of a restore that fails with an error."""
    options = RestoreOptions.parse(args)
    with (
        pytest.raises(StepFailed) as caught,
        advised(options, is_plain=is_plain, create_roles=create_roles),
    ):
        raise StepFailed("the restore failed", error)
    return caught.value.details


def test_a_missing_role_is_created_by_default():
    assert details(NO_ROLE) == NO_ROLE
    assert "create_roles: true" in details(NO_ROLE, create_roles=False)


def test_a_selection_does_not_create_its_schema():
    assert details(NO_SCHEMA) == NO_SCHEMA
    assert "CREATE SCHEMA audit in a psql stage before" in details(NO_SCHEMA, "--schema=audit")


def test_a_script_that_includes_files_is_no_dump():
    assert details(NO_FILE) == NO_FILE
    assert "with -f instead of --dump" in details(NO_FILE, is_plain=True)
