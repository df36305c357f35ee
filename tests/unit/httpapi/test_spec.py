"""The OpenAPI document: valid, complete, and in step with the code and the docs."""

import re
from pathlib import Path

import openapi_spec_validator
import pytest

from sqlrs_engine import errors
from sqlrs_engine.httpapi import spec
from sqlrs_engine.httpapi.connexion_app import TagResolver
from sqlrs_engine.httpapi.parameters import snake_case
from sqlrs_engine.registry import NAME_PATTERN

ROOT = Path(__file__).parents[3]
DOCUMENT = spec.document()
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
}
# What clients of the upstream engine call, and what this one adds.
UPSTREAM = {
    "getHealth": "get /v1/health",
    "listNames": "get /v1/names",
    "getName": "get /v1/names/{name}",
    "listInstances": "get /v1/instances",
    "getInstance": "get /v1/instances/{instance}",
    "deleteInstance": "delete /v1/instances/{instance}",
    "listStates": "get /v1/states",
    "getState": "get /v1/states/{stateId}",
    "deleteState": "delete /v1/states/{stateId}",
    "listPrepareJobs": "get /v1/prepare-jobs",
    "createPrepareJob": "post /v1/prepare-jobs",
    "getPrepareJob": "get /v1/prepare-jobs/{jobId}",
    "deletePrepareJob": "delete /v1/prepare-jobs/{jobId}",
    "cancelPrepareJob": "post /v1/prepare-jobs/{jobId}/cancel",
    "streamPrepareJobEvents": "get /v1/prepare-jobs/{jobId}/events",
    "listTasks": "get /v1/tasks",
    "runCommand": "post /v1/runs",
    "getConfig": "get /v1/config",
    "setConfig": "patch /v1/config",
    "removeConfig": "delete /v1/config",
    "getConfigSchema": "get /v1/config/schema",
    "getCacheStatus": "get /v1/cache/status",
    "explainPrepareCache": "post /v1/cache/explain/prepare",
}
ADDED = {
    "createDump": "post /v1/dumps",
    "listDumps": "get /v1/dumps",
    "getDump": "get /v1/dumps/{dumpId}",
    "deleteDump": "delete /v1/dumps/{dumpId}",
    "createInstance": "post /v1/instances",
    "updateInstance": "patch /v1/instances/{instance}",
    "resetInstance": "post /v1/instances/{instance}/reset",
    "promoteInstance": "post /v1/instances/{instance}/snapshot",
    "listImages": "get /v1/images",
    "putName": "put /v1/names/{name}",
    "deleteName": "delete /v1/names/{name}",
    "getMetrics": "get /metrics",
    "putSourceBlobSha256": "put /v1/source-blobs/sha256/{digest}",
}


def nodes(node):
    """Yield every object of the document."""
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from nodes(child)
    elif isinstance(node, list):
        for child in node:
            yield from nodes(child)


def error_classes(root=errors.EngineError):
    yield root
    for child in root.__subclasses__():
        # Other packages may refine an error; the codes are those of the tree.
        if child.__module__ == errors.__name__:
            yield from error_classes(child)


def body_schema(operation_id):
    schema = OPERATIONS[operation_id][2]["requestBody"]["content"]["application/json"]["schema"]
    return SCHEMAS[schema["$ref"].rpartition("/")[2]]


def test_the_document_is_valid():
    openapi_spec_validator.validate(DOCUMENT)


def test_the_document_has_every_operation():
    found = {name: f"{method} {path}" for name, (method, path, _) in OPERATIONS.items()}
    assert found == UPSTREAM | ADDED


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_every_operation_has_a_handler_under_its_tag(operation_id):
    resolver = TagResolver("sqlrs_engine.httpapi.handlers", DOCUMENT)

    class Operation:
        pass

    Operation.operation_id = operation_id
    handler = resolver.resolve(Operation).function
    tag = OPERATIONS[operation_id][2]["tags"][0]
    assert handler.__module__ == f"sqlrs_engine.httpapi.handlers.{tag}"
    assert handler.__name__ == snake_case(operation_id)


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_every_operation_answers_failures_with_the_envelope(operation_id):
    responses = OPERATIONS[operation_id][2]["responses"]
    assert responses["default"] == {"$ref": "#/components/responses/Error"}


def test_only_health_requires_no_token():
    assert DOCUMENT["security"] == [{"bearerAuth": []}]
    opened = [name for name, (_, _, op) in OPERATIONS.items() if op.get("security") == []]
    assert opened == ["getHealth"]


def test_every_tag_is_declared():
    declared = {tag["name"] for tag in DOCUMENT["tags"]}
    assert declared == {tag for _, _, op in OPERATIONS.values() for tag in op["tags"]}


def test_every_integer_has_a_maximum():
    unbounded = [n for n in nodes(DOCUMENT) if n.get("type") == "integer" and "maximum" not in n]
    assert unbounded == []


def test_every_pattern_holds_for_the_whole_text():
    patterns = [n["pattern"] for n in nodes(DOCUMENT) if isinstance(n.get("pattern"), str)]
    assert [p for p in patterns if not p.startswith("^")] == []
    for pattern in patterns:
        re.compile(pattern)


@pytest.mark.parametrize("operation_id", ["createPrepareJob", "runCommand", "setConfig"])
def test_requests_shared_with_upstream_allow_unknown_fields(operation_id):
    assert body_schema(operation_id).get("additionalProperties", True) is True


@pytest.mark.parametrize("operation_id", ["createInstance", "updateInstance", "putName"])
def test_requests_of_this_engine_alone_forbid_unknown_fields(operation_id):
    assert body_schema(operation_id)["additionalProperties"] is False


def test_the_pattern_of_names_is_that_of_the_registry():
    assert SCHEMAS["ResourceName"]["pattern"] == NAME_PATTERN.replace(
        "^", "^(?![0-9A-Fa-f]{32}$)", 1
    )
    reference = DOCUMENT["components"]["parameters"]["instanceRef"]["schema"]
    assert reference["pattern"] == NAME_PATTERN


def test_links_lead_to_operations_and_parameters_that_exist():
    parameters = DOCUMENT["components"]["parameters"]
    for node in nodes(DOCUMENT["paths"]):
        for link in node.get("links", {}).values():
            _, path, operation = OPERATIONS[link["operationId"]]
            refs = operation.get("parameters", []) + DOCUMENT["paths"][path].get("parameters", [])
            known = {
                parameters[p["$ref"].rpartition("/")[2]]["name"] if "$ref" in p else p["name"]
                for p in refs
            }
            assert set(link.get("parameters", {})) <= known


def test_the_error_codes_of_the_document_are_those_of_the_code():
    assert SCHEMAS["ErrorCode"]["x-extensible-enum"] == sorted(
        {kind.code for kind in error_classes()}
    )


def test_the_docs_list_every_error_code_with_its_status():
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", text, re.MULTILINE))
    assert documented == {kind.code: str(kind.status) for kind in error_classes()}


def test_the_docs_mention_every_operation():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    missing = [name for name in OPERATIONS if f"`{name}`" not in text]
    assert missing == []


def test_no_two_errors_share_a_code():
    codes = [kind.code for kind in error_classes()]
    assert len(codes) == len(set(codes))
