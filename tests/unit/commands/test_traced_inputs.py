import pytest

from sqlrs_engine.commands.traced_inputs import patterns


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([], []),
        (["alembic.ini"], ["alembic.ini"]),
        (["db/1.sql", "db/sub/2.sql", "x.sql"], ["db/**", "x.sql"]),
        (["db/1.sql"], ["db/1.sql"]),
    ],
)
def test_patterns_cover_files_with_few_words(paths, expected):
    assert patterns(paths) == expected
