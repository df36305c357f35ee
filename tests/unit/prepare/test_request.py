"""Prepare requests, and those that are refused before anything is read."""

import pytest
from support.prepare_requests import single_stage

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.request import PrepareRequest


def test_requests_survive_being_stored():
    body = {
        "prepare_kind": " psql ",
        "image_id": " postgres:17 ",
        "psql_args": ["-c", "x"],
        "work_dir": "/",
        "stdin": "",
        "plan_only": True,
        "unknown": {"fields": "pass"},
    }
    one = PrepareRequest.from_json(body)
    assert (one.prepare_kind, one.image_id) == ("psql", "postgres:17")
    assert PrepareRequest.from_json(one.to_json()) == one
    nulls = PrepareRequest.from_json(
        {"prepare_kind": "psql", "image_id": "x", "psql_args": None, "liquibase_args": None}
    )
    assert nulls == single_stage(prepare_kind="psql", image_id="x")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "prepare_kind is required"),
        ({"prepare_kind": " ", "image_id": ""}, "prepare_kind is required"),
        ({"prepare_kind": "PSQL", "image_id": "x"}, "unknown prepare_kind"),
        ({"prepare_kind": "psql"}, "image_id is required"),
        ({"prepare_kind": "psql", "image_id": " "}, "image_id is required"),
        ({"prepare_kind": "psql", "image_id": "x", "work_dir": "w"}, "work_dir must be absolute"),
    ],
)
def test_requests_that_cannot_be_right(body, message):
    with pytest.raises(InvalidArgument) as caught:
        PrepareRequest.from_json(body)
    assert caught.value.message == message
