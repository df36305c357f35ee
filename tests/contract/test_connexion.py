"""The parts of connexion that the engine uses beyond its documentation still exist.

CONTRIBUTING.md ("What connexion does here") lists what is replaced. A new connexion that
breaks one of these tests needs a look at ``sqlrs_engine.httpapi`` before the pin moves.
"""

import inspect
import tomllib
from pathlib import Path

import pytest
from support.http_fakes import TOKEN, Api  # first: it ignores what connexion's imports warn of

# isort: split
import connexion
from connexion.middleware.abstract import ROUTING_CONTEXT, RoutedAPI, RoutedMiddleware
from connexion.middleware.main import API
from connexion.operations import OpenAPIOperation
from connexion.security import SecurityHandlerFactory
from connexion.spec import OpenAPISpecification, Specification

ROOT = Path(__file__).parents[2]
CHANGED = "connexion has changed: see the users of this in sqlrs_engine/httpapi"


def arguments(function):
    return list(inspect.signature(function).parameters)


def test_connexion_is_pinned_to_the_series_whose_internals_are_known():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [d for d in project["dependencies"] if d.startswith("connexion")] == ["connexion~=3.3.0"]


def test_the_document_is_added_the_way_add_api_does_it():
    source = inspect.getsource(connexion.ConnexionMiddleware.add_api)
    for step in ("Specification.load(", "API(", "**options.__dict__", "self.apis.append(api)"):
        assert step in source, f"{CHANGED}: add_api lacks {step}"
    assert arguments(API.__init__)[:3] == ["self", "specification", "base_path"], CHANGED


def test_the_stack_is_built_as_at_the_first_request():
    source = inspect.getsource(connexion.ConnexionMiddleware.__call__)
    step = "self.app, self.middleware_stack = self._build_middleware_stack()"
    assert step in source, f"{CHANGED}: __call__ lacks {step}"


def test_validating_the_document_is_a_step_that_can_be_left_out():
    assert "self._validate_spec(raw_spec)" in inspect.getsource(Specification.__init__), CHANGED
    assert "_validate_spec" not in vars(OpenAPISpecification), CHANGED


def test_a_middleware_of_operations_has_them_made_one_by_one():
    assert {"add_paths", "make_operation"} <= vars(RoutedAPI).keys(), CHANGED
    assert "next_app" in arguments(RoutedAPI.__init__), CHANGED
    source = inspect.getsource(RoutedMiddleware.__call__)
    for name in ("ROUTING_CONTEXT", '"api_base_path"', '"operation_id"', "self.app("):
        assert name in source, f"{CHANGED}: RoutedMiddleware.__call__ lacks {name}"
    assert ROUTING_CONTEXT == "connexion_routing", CHANGED


def test_a_security_handler_is_made_by_calling_what_the_map_has():
    class Handler:
        def get_fn(self, scheme, scopes):
            return (scheme, scopes)

    factory = SecurityHandlerFactory({"bearer": Handler})
    scheme = {"type": "http", "scheme": "bearer"}
    assert factory.parse_security_scheme(scheme, []) == (scheme, []), CHANGED


def test_operations_have_what_the_handlers_are_bound_by():
    operation = OpenAPIOperation(
        "put",
        "/v1/names/{name}",
        {"operationId": "putName", "responses": {}},
        resolver=connexion.resolver.Resolver(lambda _: print),
    )
    for name in ("function", "method", "operation_id", "parameters", "request_body", "responses"):
        assert hasattr(operation, name), f"{CHANGED}: operations have no {name}"


@pytest.mark.parametrize(
    ("method", "path", "token", "status"),
    [
        ("GET", "/v1/health", None, 200),
        ("GET", "/v1/names", TOKEN, 200),
        ("GET", "/v1/names", None, 401),
        ("GET", "/v1/names", "wrong", 401),
        ("GET", "/v1/names/a?x=%ff", TOKEN, 400),
        ("GET", "/v1/nothing", None, 404),
        ("DELETE", "/v1/names", TOKEN, 405),
        ("DELETE", "/v1/names", None, 401),
        ("PUT", "/v1/names/a", TOKEN, 400),
    ],
)
def test_a_request_passes_through_all_parts(tmp_path, method, path, token, status):
    assert Api(tmp_path)(method, path, token=token).status_code == status, CHANGED
