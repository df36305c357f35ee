"""The unmodified sqlrs CLI as an engine sees it: its bytes, and what it expects to read.

Requests go out on raw sockets exactly as Go's HTTP client writes them; answers are read
as strictly as that client and the CLI's decoders read them.
"""

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import pytest

from support.fix_engine import EngineProcess

JSON = "application/json"
NDJSON = "application/x-ndjson"
LONGEST_RUN_LINE = 64 * 1024
HEX32 = re.compile(r"[0-9a-f]{32}")
HEX64 = re.compile(r"[0-9a-f]{64}")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")

# What the fields of an answer have to be for Go to decode them: "?" marks optional ones.
Shape = dict[str, Any]
HEALTH: Shape = {"ok": bool, "version": str, "instanceId": HEX32, "pid": int}
NAME: Shape = {
    "name": str,
    "instance_id?": HEX32,
    "image_id": str,
    "state_id": HEX64,
    "state_fingerprint?": str,
    "status": {"active", "missing", "expired"},
    "last_used_at?": TIMESTAMP,
}
INSTANCE: Shape = {
    "instance_id": HEX32,
    "image_id": str,
    "state_id": HEX64,
    "name?": str,
    "created_at": TIMESTAMP,
    "expires_at?": TIMESTAMP,
    "runtime_id?": str,
    "status": {"active", "expired", "orphaned"},
}
STATE: Shape = {
    "state_id": HEX64,
    "parent_state_id?": HEX64,
    "image_id": str,
    "prepare_kind": {"psql", "lb"},
    "prepare_args_normalized": str,
    "created_at": TIMESTAMP,
    "size_bytes?": int,
    "last_used_at?": TIMESTAMP,
    "use_count?": int,
    "min_retention_until?": TIMESTAMP,
    "refcount": int,
}
JOB_STATUS = {"queued", "running", "succeeded", "failed"}
JOB: Shape = {
    "job_id": HEX32,
    "status": JOB_STATUS,
    "prepare_kind": {"psql", "lb"},
    "image_id": str,
    "resolved_image_id?": str,
    "prepare_args_normalized?": str,
    "signature?": HEX64,
    "plan_only?": bool,
    "created_at?": TIMESTAMP,
    "started_at?": TIMESTAMP,
    "finished_at?": TIMESTAMP,
}
PLAN_TASK: Shape = {
    "task_id": str,
    "type": {"plan", "resolve_image", "state_execute", "prepare_instance"},
    "planner_kind?": str,
    "input?": {"kind": {"image", "state"}, "id": str},
    "image_id?": str,
    "resolved_image_id?": str,
    "task_hash?": str,
    "output_state_id?": HEX64,
    "cached?": bool,
    "instance_mode?": str,
    "changeset_id?": str,
    "changeset_author?": str,
    "changeset_path?": str,
}
TASK: Shape = {**PLAN_TASK, "job_id": HEX32, "status": JOB_STATUS, "args_summary?": str}
RESULT: Shape = {
    "dsn": str,
    "instance_id": HEX32,
    "state_id": HEX64,
    "image_id": str,
    "prepare_kind": {"psql", "lb"},
    "prepare_args_normalized": str,
}
ERROR: Shape = {"code": str, "message": str, "details?": str}
JOB_DETAILS: Shape = {
    **JOB,
    "tasks?": [PLAN_TASK],
    "result?": RESULT,
    "error?": ERROR,
}
ACCEPTED: Shape = {"job_id": HEX32, "status_url": str, "events_url": str, "status": {"queued"}}
EVENT: Shape = {
    "type": {"status", "task", "log", "result", "error"},
    "ts": TIMESTAMP,
    "status?": JOB_STATUS,
    "task_id?": str,
    "message?": str,
    "result?": RESULT,
    "error?": ERROR,
}
RUN_EVENT: Shape = {
    "type": {"start", "stdout", "stderr", "log", "error", "exit"},
    "ts": TIMESTAMP,
    "instance_id?": HEX32,
    "data?": str,
    "message?": str,
    "exit_code?": int,
    "error?": ERROR,
}
DELETED: Shape = {"dry_run": bool, "outcome": {"deleted", "would_delete", "blocked"}, "root": dict}
NODE: Shape = {
    "kind": {"instance", "state", "job"},
    "id": str,
    "connections?": int,
    "blocked?": {"active_connections", "active_tasks", "has_descendants", "blocked_by_descendant"},
    "runtime_id?": str,
    "children?": list,
}
EVICTION: Shape = {
    "completed_at": TIMESTAMP,
    "trigger": str,
    "evicted_count": int,
    "freed_bytes": int,
    "blocked_count": int,
    "reclaimable_bytes": int,
    "usage_bytes_before": int,
    "usage_bytes_after": int,
    "free_bytes_before": int,
    "free_bytes_after": int,
}
CACHE: Shape = {
    "usage_bytes": int,
    "configured_max_bytes?": int,
    "effective_max_bytes": int,
    "reserve_bytes": int,
    "high_watermark": float,
    "low_watermark": float,
    "min_state_age": str,
    "store_total_bytes": int,
    "store_free_bytes": int,
    "state_count": int,
    "reclaimable_bytes": int,
    "blocked_count": int,
    "pressure_reasons": [str],
    "last_eviction?": EVICTION,
}
DECISION: Shape = {
    "decision": {"hit", "miss"},
    "reason_code": {"exact_state_match", "no_matching_state"},
    "signature": HEX64,
    "matched_state_id?": HEX64,
    "resolved_image_id": str,
}


def check(form: Any, value: Any, where: str = "") -> Any:
    """Assert that Go decodes ``value`` into ``form``, and return it. Other fields may be there."""
    if isinstance(form, dict):
        assert isinstance(value, dict), (where, value)
        for key, inner in form.items():
            name = key.removesuffix("?")
            if name in value:
                check(inner, value[name], f"{where}.{name}")
            else:
                assert key.endswith("?"), f"{where}.{name} is missing in {value}"
    elif isinstance(form, list):
        assert isinstance(value, list), (where, value)
        for number, item in enumerate(value):
            check(form[0], item, f"{where}[{number}]")
    elif isinstance(form, set):
        assert value in form, (where, value)
    elif isinstance(form, re.Pattern):
        assert isinstance(value, str), (where, value)
        assert form.fullmatch(value), (where, value)
    elif form is float:
        assert type(value) in (int, float), (where, value)
    else:
        # An exact type: true is no number for Go, nor 1.0 an integer.
        assert type(value) is form, (where, value)
    return value


def nodes(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a deletion tree, the root first."""
    yield check(NODE, tree)
    for child in tree.get("children", []):
        yield from nodes(child)


def go_json(value: Any) -> bytes:
    r"""Encode as Go's ``json.Marshal``: compact, ``<``, ``>`` and ``&`` escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def request_bytes(
    method: str,
    path: str,
    host: str,
    *,
    token: str | None,
    body: bytes | None = None,
    range_: str | None = None,
) -> bytes:
    """Return a request as Go's ``net/http`` writes it: these headers, in this order."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "User-Agent: Go-http-client/1.1"]
    if body is not None or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body or b'')}")
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body is not None:
        lines.append("Content-Type: application/json")
    # Go asks for gzip by itself, but not for a part of something.
    lines.append(f"Range: {range_}" if range_ else "Accept-Encoding: gzip")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


class Answer:
    """An answer, its body read as it comes."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        version, status, self.reason = [*connection.line().split(" ", 2), ""][:3]
        assert version == "HTTP/1.1"
        self.status = int(status)
        self.headers: dict[str, str] = {}
        while line := connection.line():
            name, _, value = line.partition(":")
            assert name.lower() not in self.headers, f"{name} is there twice"
            self.headers[name.lower()] = value.strip()
        # We ask for gzip: what comes compressed would have to say so, and nothing does.
        assert "content-encoding" not in self.headers
        self.chunked = self.headers.get("transfer-encoding") == "chunked"
        assert self.chunked != ("content-length" in self.headers) or self.status == 204
        self._left = 0 if self.chunked else int(self.headers.get("content-length", 0))
        self._body: bytes | None = None

    def give_up_in(self, seconds: float) -> None:
        """Let the client's patience end so long after the head, however late that came."""
        self._connection.deadline = time.monotonic() + seconds

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it comes; a body that is cut off raises EOFError."""
        connection = self._connection
        if self.chunked:
            while size := int(connection.line(), 16):
                yield connection.exactly(size)
                assert connection.line() == ""
            assert connection.line() == "", "no trailers are announced"
        while self._left:
            piece = connection.some(self._left)
            self._left -= len(piece)
            yield piece
        connection.give_back(keep=self.headers.get("connection", "").lower() != "close")

    def lines(self) -> Iterator[bytes]:
        r"""Yield each line as soon as it has ended, without its ``\n``.

        The last line has to be ended too: the CLI drops one that is not.
        """
        rest = b""
        for piece in self.pieces():
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines
        assert rest == b"", "the last line is not ended"

    def read(self) -> bytes:
        """Return the whole body."""
        if self._body is None:
            self._body = b"".join(self.pieces())
        return self._body

    def close(self) -> None:
        """Give the answer up, and the connection with it."""
        self._connection.close()

    def json(self) -> Any:
        """Return the decoded body, which has to be JSON and say so."""
        assert self.headers.get("content-type", "").split(";")[0] == JSON, (
            self.status,
            self.read(),
        )
        return json.loads(self.read())

    def error(self) -> dict[str, Any]:
        """Return the error envelope, which the CLI prints as ``message: details``."""
        envelope: dict[str, Any] = check(ERROR, self.json())
        assert envelope["message"]
        return envelope


class Connection:
    """One TCP connection, used for one request at a time."""

    def __init__(self, host: str, port: int, idle: "list[Connection]") -> None:
        self._idle = idle
        self._socket = socket.create_connection((host, port), timeout=10)
        self._buffer = b""
        self.deadline = 0.0

    def send(self, request: bytes, timeout: float) -> None:
        """Send a request; ``timeout`` covers it and its whole answer, as in Go's client."""
        assert self._buffer == b"", "the engine sent more than it announced"
        self.deadline = time.monotonic() + timeout
        self._socket.settimeout(timeout)
        self._socket.sendall(request)

    def line(self) -> str:
        """Return a line of the head, or of the chunks' frame."""
        while b"\r\n" not in self._buffer:
            self._fill()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line.decode("ascii")

    def some(self, limit: int) -> bytes:
        """Return what is there, at least one byte and at most ``limit``."""
        if not self._buffer:
            self._fill()
        piece, self._buffer = self._buffer[:limit], self._buffer[limit:]
        return piece

    def exactly(self, size: int) -> bytes:
        """Return that many bytes."""
        while len(self._buffer) < size:
            self._fill()
        piece, self._buffer = self._buffer[:size], self._buffer[size:]
        return piece

    def give_back(self, *, keep: bool) -> None:
        """Leave the connection to the next request, or close it."""
        if keep:
            self._idle.append(self)
        else:
            self.close()

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def alive(self) -> bool:
        """Return whether the engine has not closed it meanwhile."""
        self._socket.settimeout(0)
        try:
            return self._socket.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _fill(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        received = self._socket.recv(65536)
        if not received:
            raise EOFError("the engine closed the connection")
        self._buffer += received


@dataclass
class Watched:
    """What the CLI saw of a job: the events up to the end, the job's row at each status event."""

    events: list[dict[str, Any]] = field(default_factory=list)
    rows: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    requests: list[tuple[str | None, int]] = field(default_factory=list)

    @property
    def job(self) -> dict[str, Any]:
        """The row that ended the watching."""
        return self.rows[-1][1]


class Cli:
    """One run of the CLI: a process of its own has connections of its own."""

    def __init__(self, engine: EngineProcess, timeout: float = 30.0) -> None:
        self.record = engine.record
        self.timeout = timeout
        self.connections = 0
        self._idle: list[Connection] = []
        self._open: list[Connection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._open:
            connection.close()

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: bool = True,
        range_: str | None = None,
    ) -> Answer:
        """Make a request on an idle connection, or on a new one, and return the answer's head."""
        request = request_bytes(
            method,
            path,
            self.record.endpoint,
            token=self.record.auth_token if token else None,
            body=None if body is None else go_json(body),
            range_=range_,
        )
        connection = self._connection()
        connection.send(request, self.timeout)
        return Answer(connection)

    def call(self, method: str, path: str, body: Any = None, *, token: bool = True) -> Answer:
        """Make a request and read its answer to the end."""
        answer = self.send(method, path, body, token=token)
        answer.read()
        return answer

    def get(self, path: str, form: Any) -> Any:
        """GET what has to be there and of that form."""
        answer = self.call("GET", path)
        skip_unwired(answer)
        assert answer.status == 200, (path, answer.status, answer.read())
        return check(form, answer.json(), path)

    def connect(self) -> None:
        """Find the engine: what every command does first."""
        self.health()
        # Anything but 401 and 403 would do, and the list is read to its end.
        self.get("/v1/prepare-jobs", [JOB])

    def health(self) -> dict[str, Any]:
        """Ask for the engine's health, without a token."""
        answer = self.call("GET", "/v1/health", token=False)
        assert answer.status == 200
        health: dict[str, Any] = check(HEALTH, answer.json())
        assert health["ok"] is True
        assert health["instanceId"] == self.record.instance_id
        assert health["pid"] == self.record.pid
        os.kill(health["pid"], 0)
        return health

    def submit(self, body: dict[str, Any]) -> dict[str, Any]:
        """Post a prepare job that has to be accepted."""
        answer = self.call("POST", "/v1/prepare-jobs", body)
        skip_unwired(answer)
        assert answer.status == 201, answer.read()
        accepted: dict[str, Any] = check(ACCEPTED, answer.json())
        own = f"/v1/prepare-jobs/{accepted['job_id']}"
        assert answer.headers["location"] == own
        assert (accepted["status_url"], accepted["events_url"]) == (own, f"{own}/events")
        return accepted

    def job(self, job_id: str) -> dict[str, Any]:
        """Get a job."""
        job: dict[str, Any] = self.get(f"/v1/prepare-jobs/{job_id}", JOB_DETAILS)
        return job

    def watch(self, job_id: str, *, timeout: float | None = None) -> Watched:
        """Follow a job's events as the CLI does, until a status event finds the job ended.

        ``timeout`` is the client's: a stream that lasts longer is given up in the middle,
        wherever that is, and taken up again at once, from the number of events seen.
        """
        seen = Watched()
        path = f"/v1/prepare-jobs/{job_id}/events"
        while True:
            range_ = f"events={len(seen.events)}-" if seen.events else None
            stream = self.send("GET", path, range_=range_)
            if timeout is not None:
                stream.give_up_in(timeout)
            seen.requests.append((range_, stream.status))
            skip = _skipped(stream, len(seen.events))
            try:
                for line in stream.lines():
                    if line == b"":
                        continue
                    if skip:
                        skip -= 1
                        continue
                    event = check(EVENT, json.loads(line), "event")
                    seen.events.append(event)
                    if event["type"] == "status":
                        job = self.job(job_id)
                        seen.rows.append((event, job))
                        if job["status"] in ("succeeded", "failed"):
                            stream.close()
                            return seen
            except TimeoutError:
                stream.close()
                assert timeout is not None, f"nothing for {self.timeout} s: {seen.events}"
            else:
                pytest.fail(f"the stream ended before the job: {seen.events}")

    def prepare(self, body: dict[str, Any]) -> dict[str, Any]:
        """Post a prepare job, watch it and return its result."""
        job = self.watch(self.submit(body)["job_id"]).job
        assert job["status"] == "succeeded", job
        result: dict[str, Any] = check(RESULT, job["result"])
        return result

    def run(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Post a run and return its events, read within the limits of the CLI's reader."""
        answer = self.send("POST", "/v1/runs", body)
        skip_unwired(answer)
        assert answer.status == 200, (answer.status, answer.read())
        assert answer.headers["content-type"].split(";")[0] == NDJSON
        events = []
        for line in answer.lines():
            assert len(line) < LONGEST_RUN_LINE
            events.append(check(RUN_EVENT, json.loads(line), "run"))
        return events

    def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.alive():
                return connection
        host, _, port = self.record.endpoint.rpartition(":")
        connection = Connection(host, int(port), self._idle)
        self._open.append(connection)
        self.connections += 1
        return connection


def _skipped(stream: Answer, seen: int) -> int:
    """Check the head of an event stream and return how many of its events are known."""
    assert stream.status in (200, 206), stream.read()
    assert stream.headers["content-type"].split(";")[0] == NDJSON
    # With a length, the CLI would take the end of the body for the end of the job.
    assert stream.chunked
    if stream.status == 200:
        return seen
    match = re.fullmatch(r"events (\d+)-\d+/(\d+|\*)", stream.headers["content-range"])
    assert match, stream.headers
    start = int(match[1])
    assert start <= seen, "events are left out"
    return seen - start


def skip_unwired(answer: Answer) -> None:
    """Skip the test when this version of the engine lacks the operation, and says so."""
    if answer.status == 501 and answer.json()["code"] == "not_implemented":
        pytest.skip(f"not in this engine: {answer.json()['message']}")
