"""What schemathesis has to be told about this API: NDJSON, and requests that mean something.

A schema cannot say which psql arguments or settings make sense, so bodies that are meant
to be accepted get some that do. Bodies that are meant to be refused are left alone.
"""

import hashlib
import json

import schemathesis
from schemathesis import GenerationMode
from schemathesis.core.parameters import ParameterLocation

SETTINGS = [
    ("log.level", "info"),
    ("log.level", None),
    ("instances.ttl", "48h"),
    ("orchestrator.jobs.maxIdentical", 3),
    ("cache.capacity.lowWatermark", 0.7),
]


@schemathesis.deserializer("application/x-ndjson")
def first_line(_context, response):
    """Return the first line, to be checked against the schema of a line."""
    lines = response.content.splitlines()
    if not lines:
        raise NotImplementedError("a stream without lines has nothing to check")
    return json.loads(lines[0])


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Make valid requests meaningful."""
    phase = case.meta.phase.name.value if case.meta is not None else None
    stateful = phase == "stateful"
    if stateful and case.method == "DELETE" and case.query:
        # A dry run succeeds without deleting, which the stateful checks cannot know.
        case.query.pop("dry_run", None)
    body = case.meta and case.meta.components.get(ParameterLocation.BODY)
    positive = phase == "examples" or (body and body.mode == GenerationMode.POSITIVE)
    if positive and case.operation.definition.raw.get("operationId") == "putSourceBlobSha256":
        _give_its_digest(case)
    if not positive or not isinstance(case.body, dict):
        return
    sensible = _SENSIBLE.get(case.operation.definition.raw.get("operationId"))
    if sensible:
        case.body = sensible(case.body, len(json.dumps(case.body)), stateful)


def _give_its_digest(case):
    """Upload the body under its own digest, unless the path is meant to be refused."""
    path = case.meta.components.get(ParameterLocation.PATH)
    if path is None or path.mode == GenerationMode.POSITIVE:
        body = getattr(case.body, "data", case.body)
        case.path_parameters["digest"] = hashlib.sha256(body).hexdigest()


def _prepare(_body, size, stateful):
    """Three different cheap prepares; all but those of the stateful phase only plan."""
    return {
        "prepare_kind": "psql",
        "image_id": "postgres",
        "psql_args": ["-c", f"create table t{size % 3} (id int)"],
        "plan_only": not stateful,
    }


def _setting(_body, size, _stateful):
    path, value = SETTINGS[size % len(SETTINGS)]
    return {"path": path, "value": value}


def _run(body, _size, _stateful):
    return {"instance_ref": body["instance_ref"], "kind": "psql", "args": ["-c", "select 1"]}


_SENSIBLE = {
    "createPrepareJob": _prepare,
    "explainPrepareCache": _prepare,
    "setConfig": _setting,
    "runCommand": _run,
}
