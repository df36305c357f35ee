"""Which failures of a build mean that the disk was full."""

import pytest

from sqlrs_engine.errors import ClusterFailed, StepFailed
from sqlrs_engine.prepare.build.disk_full import says_disk_full, was_full

STAMP = "2026-12-01 10:00:00.123 UTC [4711]"
FULL = f"{STAMP} 53100 ERROR:  could not extend file"
RAISED = f"{STAMP} P0001 ERROR:  No space left on device"


@pytest.mark.parametrize(
    ("log", "full"),
    [
        (FULL, True),
        (f"{STAMP} 00000 LOG:  checkpoint\n{STAMP} 53100 PANIC:  could not write", True),
        (RAISED, False),
        # A message's further lines are indented.
        (f"{STAMP} P0001 ERROR:  x\n\t{FULL}", False),
        (f"{STAMP} 53100 LOG:  no failure", False),
        ("", False),
    ],
)
def test_the_log_says_by_its_sqlstate_that_the_disk_is_full(log, full):
    assert says_disk_full(log) is full


@pytest.mark.parametrize(
    ("error", "log", "exhausted", "full"),
    [
        (StepFailed("psql execution failed", "ERROR:  could not extend file"), FULL, False, True),
        (StepFailed("psql execution failed", "No space left on device"), RAISED, False, False),
        (StepFailed("psql execution failed", "No space left on device"), "", True, True),
        (StepFailed("psql execution failed", "syntax error"), "", True, False),
        (ClusterFailed("PostgreSQL did not start: its log has the cause", ""), "", True, True),
        (
            ClusterFailed(
                "PostgreSQL did not start: its log has the cause", "No space left on device"
            ),
            "",
            False,
            False,
        ),
        (ClusterFailed("PostgreSQL did not start: its log has the cause", FULL), "", False, True),
    ],
)
def test_only_postgresql_and_the_filesystem_are_believed(tmp_path, error, log, exhausted, full):
    file = tmp_path / "postgres.log"
    file.write_text(log)
    assert was_full(error, file, exhausted) is full
    file.unlink()
    if not log:
        assert was_full(error, file, exhausted) is full
