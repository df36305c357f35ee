"""json_schemas: one line per failure, and patterns that hold for the whole text."""

import jsonschema
import pytest
from jsonschema.validators import extend

from sqlrs_engine.json_schemas import explain, match_whole, unknown_fields

Validator = extend(jsonschema.Draft202012Validator, {"pattern": match_whole})


def failure(schema, value):
    (error,) = Validator(schema).iter_errors(value)
    return error


@pytest.mark.parametrize(
    ("schema", "value", "reason"),
    [
        ({"type": "string"}, 1, "x must be a string"),
        ({"type": ["integer", "null"]}, "a", "x must be a whole number or null"),
        ({"enum": ["a", "b", None]}, 1, "x must be one of a, b, null"),
        ({"required": ["a", "b"]}, {"a": 1}, "x lacks 'b'"),
        (
            {"properties": {"a": {}, "b": {}}, "additionalProperties": False},
            {"a": 1, "c": 2},
            "x has an unknown field 'c'; known fields: a, b",
        ),
        ({"pattern": "^a$"}, "b", "x must match ^a$"),
        ({"minLength": 1}, "", "x must not be empty"),
        ({"minProperties": 1}, {}, "x must not be empty"),
        ({"maxLength": 2}, "abc", "x is longer than 2 characters"),
        ({"maxItems": 1}, [1, 2], "x has more than 1 items"),
        ({"minimum": 1}, 0, "x must be at least 1"),
        ({"maximum": 1}, 2, "x must be at most 1"),
        ({"exclusiveMinimum": 0}, 0, "x must be greater than 0"),
        ({"multipleOf": 2}, 3, "x: 3 is not a multiple of 2"),
    ],
)
def test_a_failure_is_explained_in_one_line(schema, value, reason):
    assert explain(failure(schema, value), "x") == reason


def test_a_long_value_is_cut():
    error = failure({"additionalProperties": False}, {"a" * 1000: 1})
    assert len(explain(error, "x")) < 200


def test_a_final_newline_does_not_match_the_end_of_a_pattern():
    assert explain(failure({"pattern": "^a$"}, "a\n"), "x") == "x must match ^a$"
    assert Validator({"pattern": "^a$"}).is_valid("a")
    assert Validator({"pattern": "^a$"}).is_valid(1)


def test_unknown_fields_are_those_that_the_schema_does_not_have():
    schema = {"properties": {"a": {}}, "additionalProperties": False}
    assert unknown_fields(failure(schema, {"b": 1, "a": 2, "c": 3})) == ["b", "c"]
