"""Prepare requests, and those that are refused before anything is read."""

import re

import pytest
from support.prepare_requests import single_stage

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.request import Origin, PrepareRequest


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


def test_chains_and_where_they_start_survive_being_stored():
    body = {
        "prepare_kind": "chain",
        "from": {"name": "dev"},
        "stages": [
            {"kind": "psql", "psql_args": ["-f", "-"], "stdin_base64": "/w=="},
            {"kind": "lb", "liquibase_args": ["update"], "liquibase_env": {"A": "b"}},
            {"kind": "dump", "path": "/x.dump", "create_roles": False},
            {"kind": "command", "argv": ["x"], "inputs": [], "work_dir": "/"},
        ],
    }
    one = PrepareRequest.from_json(body)
    assert [stage.kind for stage in one.stages] == ["psql", "lb", "dump", "command"]
    assert (one.image_id, one.origin) == (None, Origin(name="dev"))
    assert one.to_json() == body
    assert PrepareRequest.from_json(one.to_json()) == one


@pytest.mark.parametrize(
    ("fields", "message", "details"),
    [
        ({"from": {"name": "dev"}}, "image_id and from exclude each other", None),
        ({"image_id": None, "from": {"name": "a", "state_id": "b"}}, "from needs either", None),
        ({"image_id": None, "from": {"name": None}}, "from needs either", None),
        ({"source_manifest": {}}, "source_manifest is not for chains", None),
        (
            {"stages": [{"kind": "psql", "psqlargs": []}]},
            "unknown field",
            r"stages\[0\].*psql_args\?",
        ),
        (
            {"stages": [{"kind": "psql", "stages": []}]},
            "unknown field",
            "it has psql_args, work_dir",
        ),
        ({"stages": [{"kind": "psql", "work_dir": "x"}]}, "must be absolute", r"stages\[0\]: x"),
    ],
)
def test_chains_that_cannot_be_right(fields, message, details):
    stages = [{"kind": "psql", "psql_args": ["-c", "select 1"]}]
    body = {"prepare_kind": "chain", "image_id": "x", "stages": stages, **fields}
    with pytest.raises(InvalidArgument, match=message) as caught:
        PrepareRequest.from_json(body)
    assert details is None or re.search(details, caught.value.details or "")
