"""pgdump.advice: which option helps when pg_dump fails."""

import pytest

from sqlrs_engine.pgdump.advice import failure

DENIED = "pg_dump: error: query failed: ERROR:  permission denied for {}"
LOCK = "pg_dump: detail: Query was: LOCK TABLE public.secret IN ACCESS SHARE MODE"


@pytest.mark.parametrize(
    ("what", "option"),
    [
        ("table secret", "--exclude-table=secret"),
        ("table Odd name", "--exclude-table='\"Odd name\"'"),
        ("sequence secret_id_seq", "--exclude-table=secret_id_seq"),
        ("schema private", "--exclude-schema=private"),
        ("large object 16400", "--schema-only"),
    ],
)
def test_what_may_not_be_read(what: str, option: str) -> None:
    error = failure(1, ["pg_dump: reading schemas", DENIED.format(what), LOCK])
    assert error.code == "dump_failed"
    assert f"{what} may not be read" in error.message
    assert option in error.message
    assert "pg_read_all_data" in error.message
    assert error.details == f"{DENIED.format(what)}\n{LOCK}"


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        (
            'ERROR:  query would be affected by row-level security policy for table "t"',
            "--exclude-table-data=t",
        ),
        ("error: no matching tables were found", "check --table and --schema"),
        ("ERROR:  canceling statement due to conflict with recovery", "standby"),
        ("error: could not receive data from server: timeout", "look at its log"),
        ("something else", "its message says why"),
    ],
)
def test_other_failures(line: str, advice: str) -> None:
    assert advice in failure(1, [f"pg_dump: error: {line}"]).message


def test_a_failure_without_an_error_has_the_last_lines() -> None:
    assert failure(-9, ["pg_dump: reading schemas"]).details == "pg_dump: reading schemas"
    assert failure(3, []).details == "exit code 3"
