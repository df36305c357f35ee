"""pgdump.patterns and pgdump.filters: names as pg_dump reads them, and what is said of them."""

import pytest

from sqlrs_engine.pgdump.filters import Filters
from sqlrs_engine.pgdump.patterns import Pattern, parse


@pytest.mark.parametrize(
    ("text", "schema", "name"),
    [
        ("users", None, "^(users)$"),
        ("Users", None, "^(users)$"),
        ('"Users"', None, "^(Users)$"),
        ("audit.*", "^(audit)$", "^(.*)$"),
        ("a?d.log_*", "^(a.d)$", "^(log_.*)$"),
        ("app.public.users", "^(public)$", "^(users)$"),
        ("a$1", None, r"^(a\$1)$"),
        ('"a.b"', None, r"^(a\.b)$"),
        ('"a""b*"', None, r'^(a"b\*)$'),
        ("a|b", None, "^(a|b)$"),
        ("log_[0-9]+", None, "^(log_[0-9]+)$"),
        ("", None, "^()$"),
    ],
)
def test_patterns_become_regular_expressions(text: str, schema: str | None, name: str) -> None:
    assert parse(text) == Pattern(schema, name)


def test_filters_are_arguments_and_words() -> None:
    filters = Filters(
        schema_only=True,
        schemas=("a", "b"),
        exclude_schemas=("c",),
        tables=("d",),
        exclude_tables=("e",),
        exclude_table_data=("f.*",),
    )
    assert filters.arguments() == [
        "--schema-only",
        "--schema=a",
        "--schema=b",
        "--exclude-schema=c",
        "--table=d",
        "--exclude-table=e",
        "--exclude-table-data=f.*",
    ]
    assert list(filters.words()) == [
        "schema only",
        "schemas a b",
        "without schemas c",
        "tables d",
        "without tables e",
        "without the data of f.*",
    ]
    assert filters.selects
    assert not Filters().selects
    assert Filters().arguments() == list(Filters().words()) == []
