"""What schemathesis has to be told about this API: NDJSON, and requests that mean something.

A schema cannot say which psql arguments or settings make sense, nor which ids there are, so
requests that are meant to be accepted get some that do. Those that are meant to be refused
are left alone.

``SQLRS_CASES`` names a file for a count of the cases by operation and status.
"""

import atexit
import hashlib
import json
import os
from collections import Counter, deque
from pathlib import Path
from urllib.parse import urlsplit

import httpx
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
KEPT_INSTANCES = 12
# Spellings that the document does not have and the engine understands nevertheless.
LENIENT_FLAGS = {"1", "0", "t", "f", "T", "F", "true", "false", "TRUE", "FALSE", "True", "False"}
FLAGS = ("force", "dry_run", "recurse", "effective")


class Known:
    """The ids of what there is, the latest last, as answers have told them."""

    def __init__(self) -> None:
        self.instances: deque[str] = deque()
        self.states: deque[str] = deque(maxlen=50)
        self.jobs: deque[str] = deque(maxlen=50)
        self.names: deque[str] = deque(maxlen=50)
        self.dumps: deque[str] = deque(maxlen=50)
        self.seen: set[str] = set()  # all ids so far, also of what is gone
        self._by_field = {
            "instance_id": self.instances,
            "state_id": self.states,
            "job_id": self.jobs,
            "name": self.names,
            "dump_id": self.dumps,
        }

    def learn(self, answer) -> None:
        """Take note of what an answer that creates or shows something tells."""
        for field, ids in self._by_field.items():
            ident = answer.get(field)
            if isinstance(ident, str) and ident not in ids:
                ids.append(ident)
                self.seen.add(ident)

    def forget_tree(self, root) -> None:
        """Take note that what a deletion tree names is gone."""
        nodes = [root]
        while nodes:
            node = nodes.pop()
            nodes += node.get("children", ())
            for ids in self._by_field.values():
                if node["id"] in ids:
                    ids.remove(node["id"])


KNOWN = Known()
CASES: Counter[str] = Counter()
IDS = {
    "instance": KNOWN.instances,
    "stateId": KNOWN.states,
    "jobId": KNOWN.jobs,
    "name": KNOWN.names,
    "dumpId": KNOWN.dumps,
}


@schemathesis.deserializer("application/x-ndjson")
def first_line(_context, response):
    """Return the first line, to be checked against the schema of a line."""
    lines = response.content.splitlines()
    if not lines:
        raise NotImplementedError("a stream without lines has nothing to check")
    return json.loads(lines[0])


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Make valid requests meaningful, and invalid ones invalid beyond what is lenient."""
    stateful = _phase(case) == "stateful"
    if stateful and case.method == "DELETE" and case.query:
        # A dry run succeeds without deleting, which the stateful checks cannot know.
        case.query.pop("dry_run", None)
    if not _is_positive(case, ParameterLocation.QUERY):
        for name, value in (case.query or {}).items():
            if _is_lenient(name, value):
                case.query[name] = "no such value"
    operation = _operation(case)
    if _is_positive(case, ParameterLocation.PATH):
        if operation == "putSourceBlobSha256" and _is_positive(case, ParameterLocation.BODY):
            _give_its_digest(case)
        elif operation != "putName":
            _give_ids(case)
    if "Idempotency-Key" in (case.headers or {}) and _is_positive(case, ParameterLocation.HEADER):
        # What is asked again with the same key is a repetition, and has to be the same.
        case.headers["Idempotency-Key"] = f"case-{CASES.total()}"
    sensible = _SENSIBLE.get(operation)
    if sensible and _is_positive(case, ParameterLocation.BODY) and isinstance(case.body, dict):
        case.body = sensible(case.body, len(json.dumps(case.body)), stateful)


@schemathesis.hook
def after_call(_context, case, response):
    """Count the case, and learn what there is now."""
    operation, ok = _operation(case), response.status_code < 300
    if not CASES:
        for path in ("states", "instances", "names", "prepare-jobs", "dumps"):
            for row in _call(response, "GET", f"/v1/{path}").json():
                KNOWN.learn(row)
    CASES[f"{operation} {response.status_code}"] += 1
    if not ok or "json" not in response.headers.get("content-type", [""])[0]:
        return
    answer = json.loads(response.content.split(b"\n", 1)[0])
    if case.method == "DELETE" and answer.get("outcome") == "deleted":
        KNOWN.forget_tree(answer["root"])
    elif operation == "createPrepareJob":
        KNOWN.learn(answer)
        _await(case, response, answer["job_id"])
    elif isinstance(answer, dict) and operation in _CREATES:
        KNOWN.learn(answer)
        _bound_instances(response)


@atexit.register
def write_cases():
    """Write the count of the cases."""
    if path := os.environ.get("SQLRS_CASES"):
        Path(path).write_text(json.dumps(CASES))


def _operation(case):
    return case.operation.definition.raw.get("operationId")


def _phase(case):
    return case.meta.phase.name.value if case.meta is not None else None


def _is_positive(case, location):
    """Return whether a part of a request is meant to be accepted; all of an example is."""
    if case.meta is None:
        return False
    part = case.meta.components.get(location)
    return _phase(case) == "examples" or part is None or part.mode == GenerationMode.POSITIVE


def _is_lenient(name, value):
    text = str(value)
    if text != text.strip(" ") or not text:
        return True
    return name in FLAGS and not isinstance(value, bool) and text in LENIENT_FLAGS


def _give_ids(case):
    """Name something that there is, unless a link has given the id, which may be gone by now."""
    for name, value in (case.path_parameters or {}).items():
        if IDS.get(name) and value not in KNOWN.seen:
            case.path_parameters[name] = IDS[name][-1]


def _give_its_digest(case):
    """Upload the body under its own digest."""
    body = getattr(case.body, "data", case.body)
    case.path_parameters["digest"] = hashlib.sha256(body).hexdigest()


def _prepare(_body, size, stateful):
    """Three different cheap prepares; most outside the stateful phase only plan."""
    return {
        "prepare_kind": "psql",
        "image_id": "postgres",
        "psql_args": ["-c", f"create table t{size % 3} (id int)"],
        "plan_only": not stateful and bool(KNOWN.instances),
    }


def _create(body, _size, _stateful):
    kept = {name: body[name] for name in ("ttl", "protected") if name in body}
    state = KNOWN.states[-1] if KNOWN.states else body.get("state_id", "0" * 64)
    return {"state_id": state, **kept}


def _setting(_body, size, _stateful):
    path, value = SETTINGS[size % len(SETTINGS)]
    return {"path": path, "value": value}


def _run(body, _size, _stateful):
    instance = KNOWN.instances[-1] if KNOWN.instances else body["instance_ref"]
    return {"instance_ref": instance, "kind": "psql", "args": ["-c", "select 1"]}


def _bind(body, _size, _stateful):
    return {"instance_id": KNOWN.instances[-1]} if KNOWN.instances else body


_SENSIBLE = {
    "createPrepareJob": _prepare,
    "explainPrepareCache": _prepare,
    "createInstance": _create,
    "setConfig": _setting,
    "runCommand": _run,
    "putName": _bind,
}


_CREATES = ("createInstance", "promoteInstance", "putName", "createDump")


def _await(case, response, job_id):
    """Wait for the end of a job, and learn what it has made."""
    if case.body.get("plan_only"):
        return
    _call(response, "GET", f"/v1/prepare-jobs/{job_id}/events")  # it ends with the job
    answer = _call(response, "GET", f"/v1/prepare-jobs/{job_id}")
    if answer.status_code == 200:
        KNOWN.learn(answer.json().get("result") or {})
    _bound_instances(response)


def _bound_instances(response):
    """Delete the oldest instances: a scenario makes fewer than are kept."""
    while len(KNOWN.instances) > KEPT_INSTANCES:
        _call(response, "DELETE", f"/v1/instances/{KNOWN.instances.popleft()}?force=true")


def _call(response, method, path):
    url = urlsplit(response.request.url)
    headers = {"Authorization": f"Bearer {os.environ['SQLRS_TOKEN']}"}
    address = f"{url.scheme}://{url.netloc}{path}"
    return httpx.request(method, address, headers=headers, timeout=60, trust_env=False)
