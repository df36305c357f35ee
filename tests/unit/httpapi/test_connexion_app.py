"""httpapi.connexion_app: handlers and the document fit each other, or the engine does not start."""

import copy
import sys
import types

import pytest
from support.http_fakes import IDENT, TOKEN, call, services

from sqlrs_engine.httpapi import spec
from sqlrs_engine.httpapi.app import create_app
from sqlrs_engine.httpapi.responses import json_reply
from sqlrs_engine.httpapi.spec import DocumentError

PACKAGE = "handlers_of_a_test"
OPERATION = {"operationId": "showThing", "tags": ["things"], "responses": {}}
PARAMETERS = [
    {"name": "thingId", "in": "path", "required": True, "schema": {"type": "string"}},
    {"name": "force", "in": "query", "schema": {"type": "boolean"}},
]
BODY = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start an application with one operation and its handler; return it."""

    def start(handler, parameters=PARAMETERS, **changes):
        things = types.ModuleType(f"{PACKAGE}.things")
        if handler is not None:
            things.show_thing = handler
        monkeypatch.setitem(sys.modules, PACKAGE, types.ModuleType(PACKAGE))
        monkeypatch.setitem(sys.modules, f"{PACKAGE}.things", things)
        operation = {**OPERATION, "parameters": copy.deepcopy(parameters), **changes}
        document = {
            **spec.document(),
            "paths": {"/v1/things/{thingId}": {"post": operation}},
        }
        return create_app(
            services(tmp_path),
            token=TOKEN,
            version="test",
            instance_id=IDENT,
            document=document,
            handlers=PACKAGE,
        )

    return start


async def show_thing(services, thing_id, force=False):
    return json_reply([thing_id, force])


def test_a_handler_gets_the_parameters_of_its_operation(start):
    app = start(show_thing)
    assert call(app, "POST", "/v1/things/one?force=true").json() == ["one", True]
    assert call(app, "POST", "/v1/things/one").json() == ["one", False]


def test_a_handler_may_ask_for_the_request(start):
    async def handler(services, request, thing_id, force=False):
        return json_reply([request.method, thing_id])

    assert call(start(handler), "POST", "/v1/things/one").json() == ["POST", "one"]


def test_a_body_is_an_argument(start):
    async def handler(services, thing_id, body, force=False):
        return json_reply([thing_id, body])

    app = start(handler, requestBody=BODY)
    assert call(app, "POST", "/v1/things/one", json={"a": 1}).json() == ["one", {"a": 1}]


async def no_force(services, thing_id): ...


async def another(services, thing_id, force=False, colour=None): ...


async def no_default(services, thing_id, force): ...


async def needless_default(services, thing_id=None, force=False): ...


async def no_services(thing_id, force=False): ...


async def no_arguments(): ...


def synchronous(services, thing_id, force=False): ...


@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        (no_force, "does not take force"),
        (another, "takes what the document does not have: colour"),
        (no_default, "has no default for what a request may omit: force"),
        (needless_default, "has a default for what every request has: thing_id"),
        (no_services, "does not take the services first"),
        (no_arguments, "does not take the services first"),
        (synchronous, "is not asynchronous"),
        (None, "showThing has no handler things.show_thing"),
    ],
)
def test_a_handler_that_does_not_fit_its_operation_stops_the_start(start, handler, problem):
    with pytest.raises(DocumentError, match=problem) as caught:
        start(handler)
    assert "showThing" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"style": "form"}, "'style'"),
        ({"explode": True}, "'explode'"),
        ({"allowReserved": True}, "'allowReserved'"),
        ({"in": "cookie"}, "no cookie parameters"),
        ({"in": "header", "required": True}, "required headers"),
        ({"schema": {"type": "integer"}}, "'integer'"),
        ({"schema": {"type": "array", "items": {"type": "string"}}}, "'array'"),
        ({"schema": {"type": "string", "enum": ["a"]}}, "'enum'"),
        ({"schema": {"type": "string", "format": "date"}}, "'date'"),
        ({"schema": {"type": "boolean", "default": True}}, "'default'"),
    ],
)
def test_a_parameter_that_would_be_ignored_stops_the_start(start, change, problem):
    first, second = PARAMETERS
    with pytest.raises(DocumentError, match=problem):
        start(show_thing, [first, {**second, **change}])


def test_a_parameter_with_content_stops_the_start(start):
    content = {"name": "force", "in": "query", "content": {"application/json": {}}}
    with pytest.raises(DocumentError, match="'content'"):
        start(show_thing, [PARAMETERS[0], content])


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "string", "format": "date-time"}, "'format'"),
        ({"type": "object", "properties": {"a": {"readOnly": True}}}, "'readOnly'"),
        ({"type": "array", "items": {"discriminator": {}}}, "'discriminator'"),
        ({"additionalProperties": {"writeOnly": True}}, "'writeOnly'"),
        ({"allOf": [{"xml": {}}]}, "'xml'"),
    ],
)
def test_a_keyword_of_a_body_that_would_be_ignored_stops_the_start(start, schema, problem):
    async def handler(services, thing_id, body, force=False): ...

    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    with pytest.raises(DocumentError, match=problem):
        start(handler, requestBody=body)


def test_a_body_that_may_be_left_out_stops_the_start(start):
    async def handler(services, thing_id, body, force=False): ...

    with pytest.raises(DocumentError, match="optional bodies"):
        start(handler, requestBody={**BODY, "required": False})


def test_a_document_that_is_not_served_at_the_root_stops_the_start(tmp_path):
    document = {**spec.document(), "servers": [{"url": "/api"}]}
    with pytest.raises(DocumentError, match="at the root"):
        create_app(
            services(tmp_path), token=TOKEN, version="test", instance_id=IDENT, document=document
        )


@pytest.mark.parametrize(
    "scheme",
    [
        {"type": "http", "scheme": "basic"},
        {"type": "apiKey", "in": "header", "name": "X-Key"},
        {"type": "oauth2", "flows": {}},
    ],
)
def test_a_security_scheme_that_is_not_implemented_stops_the_start(tmp_path, scheme):
    document = spec.document()
    document["components"]["securitySchemes"]["other"] = scheme
    with pytest.raises(DocumentError, match="security scheme other"):
        create_app(
            services(tmp_path), token=TOKEN, version="test", instance_id=IDENT, document=document
        )
