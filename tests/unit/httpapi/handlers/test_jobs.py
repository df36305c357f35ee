"""httpapi: prepare jobs, their tasks, and their event streams."""

import json
import socket
import threading
from datetime import datetime
from itertools import pairwise

import httpx
import pytest
from support.http_fakes import TOKEN, Api, serving

from sqlrs_engine.httpapi import heartbeats

AUTH = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path)


@pytest.fixture
def live(api):
    """The application behind a real server: a client with the token."""
    with (
        serving(api.app) as (host, port),
        httpx.Client(base_url=f"http://{host}:{port}", headers=AUTH, timeout=60) as client,
    ):
        yield client


def test_an_accepted_job_has_its_urls(api):
    body = {"prepare_kind": "psql", "image_id": "postgres:17", "psql_args": ["sleep"]}
    response = api.post("/v1/prepare-jobs", body)
    assert response.status_code == 201
    job = response.json()["job_id"]
    assert response.headers["location"] == f"/v1/prepare-jobs/{job}"
    assert response.json() == {
        "job_id": job,
        "status_url": f"/v1/prepare-jobs/{job}",
        "events_url": f"/v1/prepare-jobs/{job}/events",
        "status": "queued",
    }


def test_invalid_arguments_of_a_job_are_refused(api):
    body = {"prepare_kind": "psql", "image_id": "x", "psql_args": ["-h", "localhost"]}
    response = api.post("/v1/prepare-jobs", body)
    assert response.status_code == 400
    assert response.json() == {
        "code": "invalid_argument",
        "message": "connection flags are not allowed",
        "details": "-h",
    }


def test_a_finished_job_has_tasks_and_a_result(api):
    job = api.get(f"/v1/prepare-jobs/{api.prepare('-c', 'select 1')}").json()
    assert job["status"] == "succeeded"
    assert job["result"]["dsn"].startswith("postgres://")
    assert "error" not in job
    assert "plan_only" not in job
    plan, step = job["tasks"]
    assert plan == {"task_id": "plan", "type": "plan", "planner_kind": "psql"}
    assert step["input"]["kind"] == "image"
    assert step["cached"] is False
    assert "status" not in step


def test_a_job_that_only_plans_says_so(api):
    job = api.get(f"/v1/prepare-jobs/{api.prepare(plan_only=True)}").json()
    assert job["plan_only"] is True
    assert job["tasks"]
    assert "result" not in job


def test_jobs_are_found_by_a_prefix_of_any_length(api):
    job = api.prepare("sleep")
    api.prepare("sleep")
    for prefix in (job, job[:9]):
        assert [j["job_id"] for j in api.get(f"/v1/prepare-jobs?job={prefix}").json()] == [job]
    assert api.get("/v1/prepare-jobs?job=%25").json() == []
    assert len(api.get("/v1/prepare-jobs").json()) == 2


def test_tasks_are_listed_with_job_and_status(api):
    job = api.prepare("-c", "select 1")
    api.prepare("-c", "select 2")
    tasks = api.get(f"/v1/tasks?job={job}").json()
    assert [task["task_id"] for task in tasks] == ["plan", "execute-0"]
    assert {task["job_id"] for task in tasks} == {job}
    assert tasks[1]["args_summary"] == "-c select 1"
    assert {task["status"] for task in tasks} == {"succeeded"}
    assert len(api.get("/v1/tasks").json()) == 4


def test_cancelling_a_job_twice(api):
    path = f"/v1/prepare-jobs/{api.prepare('sleep')}/cancel"
    response = api.post(path)
    assert response.status_code == 202
    assert response.json()["error"]["code"] == "cancelled"
    assert api.post(path).status_code == 200


def test_deleting_a_running_job_requires_force(api):
    path = f"/v1/prepare-jobs/{api.prepare('sleep')}"
    response = api("DELETE", path)
    assert response.status_code == 409
    assert response.json()["root"]["blocked"] == "active_tasks"
    assert api("DELETE", f"{path}?force=true").json()["outcome"] == "deleted"
    assert api.get(path).status_code == 404


def decoded(response):
    return [json.loads(line) for line in response.text.splitlines()]


def test_a_finished_jobs_events_are_replayed_in_full(api):
    response = api.get(f"/v1/prepare-jobs/{api.prepare('-c', 'select 1')}/events")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-ndjson"
    assert "content-length" not in response.headers
    assert [event["type"] for event in decoded(response)] == ["status", "status", "result"]


@pytest.mark.parametrize(
    ("asked", "count", "shown"),
    [
        ("events=0-", 3, "events 0-2/*"),
        ("events=1-", 2, "events 1-2/*"),
        ("events = 2 -", 1, "events 2-2/*"),
        ("events=3-", 0, "events 3-3/*"),
        # A number that is not known any more: the client gets the end.
        ("events=99-", 2, "events 99-99/*"),
    ],
)
def test_a_range_skips_the_events_before_it(api, asked, count, shown):
    path = f"/v1/prepare-jobs/{api.prepare('-c', 'select 1')}/events"
    api.store.jobs.append_events(path.split("/")[3], 0, [b"{}"] * 3)
    response = api.get(path, headers={"Range": asked})
    assert response.status_code == 206
    assert response.headers["content-range"] == shown
    assert len(decoded(response)) == count


@pytest.mark.parametrize("asked", ["bytes=0-", "events=-5", "events=1-2", "events=x-", "events"])
def test_any_other_range_is_ignored(api, asked):
    path = f"/v1/prepare-jobs/{api.prepare('-c', 'select 1')}/events"
    response = api.get(path, headers={"Range": asked})
    assert response.status_code == 200
    assert len(decoded(response)) == 3


def test_a_client_that_accepts_only_json_gets_the_stream(api):
    path = f"/v1/prepare-jobs/{api.prepare('-c', 'select 1')}/events"
    response = api.get(path, headers={"Accept": "application/json"})
    assert response.headers["content-type"] == "application/x-ndjson"
    assert len(decoded(response)) == 3


def test_a_stream_of_html_is_not_acceptable(api):
    path = f"/v1/prepare-jobs/{api.prepare('sleep')}/events"
    assert api.get(path, headers={"Accept": "text/html"}).status_code == 406


def test_events_arrive_at_once_and_the_stream_ends_with_the_job(api, live):
    job = api.prepare("sleep")
    events = api.services.prepare.events
    with live.stream("GET", f"/v1/prepare-jobs/{job}/events") as response:
        assert response.headers["transfer-encoding"] == "chunked"
        stream = response.iter_lines()
        assert json.loads(next(stream))["status"] == "queued"
        for number in range(20):
            events.append(job, type="log", message=f"line {number}\n" + "x" * 100_000)
            assert json.loads(next(stream))["message"].startswith(f"line {number}\n")
        api.services.prepare.cancel(job)
        rest = [json.loads(line) for line in stream]
    assert [event["type"] for event in rest] == ["status", "error"]
    assert not events.callbacks[job]


def test_many_events_from_many_threads_arrive_once_each(api, live):
    job = api.prepare("sleep")
    prepare = api.services.prepare

    def write(thread):
        for number in range(100):
            prepare.events.append(job, type="log", message=f"{thread}.{number}")

    with live.stream("GET", f"/v1/prepare-jobs/{job}/events") as response:
        writers = [threading.Thread(target=write, args=[n]) for n in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        prepare.cancel(job)
        messages = [json.loads(line).get("message") for line in response.iter_lines()]
    logged = [message for message in messages if message]
    assert len(logged) == len(set(logged)) == 400


def test_a_stream_waits_for_new_events(api, live):
    job = api.prepare("sleep")
    headers = {"Range": "events=1-"}
    with live.stream("GET", f"/v1/prepare-jobs/{job}/events", headers=headers) as response:
        assert response.status_code == 206
        api.services.prepare.cancel(job)
        assert [json.loads(line)["type"] for line in response.iter_lines()] == ["status", "error"]


def test_a_silent_job_repeats_its_last_event(api, live, monkeypatch):
    monkeypatch.setattr(heartbeats, "SECONDS", 0.02)
    job = api.prepare("sleep")
    path = f"/v1/prepare-jobs/{job}/events"
    with live.stream("GET", path) as response:
        lines = (json.loads(line) for line in response.iter_lines())
        seen = [next(lines) for _ in range(3)]
        api.services.prepare.events.append(job, type="log", message="psql: CREATE TABLE")
        while seen[-1].get("message") is None:
            seen.append(next(lines))
        seen += [next(lines) for _ in range(2)]
        api.services.prepare.cancel(job)
        seen += lines
    first = [event for event in seen if event.get("status") == "queued"]
    logged = [event for event in seen if event["type"] == "log"]
    assert len(first) >= 3
    assert len(logged) >= 3
    for repeated in (first, logged):
        times = [event.pop("ts") for event in repeated]
        assert times == sorted(set(times))
        assert all(event == repeated[0] for event in repeated)
    assert [event["type"] for event in seen[-2:]] == ["status", "error"]
    # What was repeated is not stored, but keeps its number: clients count what they have read.
    stored = api.services.prepare.events.read(job, 0).lines
    assert len(stored) == len({line["ts"] for line in map(json.loads, stored)}) == 4
    for start in range(len(seen) + 1):
        rest = decoded(api.get(path, headers={"Range": f"events={start}-"}))
        assert [event["type"] for event in rest] == [event["type"] for event in seen[start:]]


def test_heartbeats_are_a_second_apart(api, live, monkeypatch):
    monkeypatch.setattr(heartbeats, "SECONDS", 0.4)
    job = api.prepare("sleep")
    with live.stream("GET", f"/v1/prepare-jobs/{job}/events") as response:
        lines = response.iter_lines()
        times = [datetime.fromisoformat(json.loads(next(lines))["ts"]) for _ in range(4)]
        api.services.prepare.cancel(job)
    assert all((after - before).total_seconds() > 0.2 for before, after in pairwise(times))


def test_all_streams_of_a_job_have_the_same_heartbeats(api, live, monkeypatch):
    monkeypatch.setattr(heartbeats, "SECONDS", 0.02)
    job = api.prepare("sleep")
    results = []

    def read():
        with httpx.Client(base_url=live.base_url, headers=AUTH, timeout=60) as client:
            results.append(client.get(f"/v1/prepare-jobs/{job}/events").text)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    with live.stream("GET", f"/v1/prepare-jobs/{job}/events") as response:
        lines = response.iter_lines()
        for number in range(5):
            for _ in range(2):
                next(lines)
            api.services.prepare.events.append(job, type="log", message=f"line {number}")
        api.services.prepare.cancel(job)
        list(lines)
    for reader in readers:
        reader.join()
    assert len(set(results)) == 1
    assert results[0] == api.get(f"/v1/prepare-jobs/{job}/events").text


def test_a_long_event_is_not_repeated(api, live, monkeypatch):
    monkeypatch.setattr(heartbeats, "SECONDS", 0.01)
    job = api.prepare("sleep")
    api.services.prepare.events.append(job, type="log", message="x" * 100_000)
    with live.stream("GET", f"/v1/prepare-jobs/{job}/events") as response:
        lines = response.iter_lines()
        while "xxx" not in next(lines):
            pass
        timer = threading.Timer(0.2, api.services.prepare.cancel, [job])
        timer.start()
        assert [json.loads(line)["type"] for line in lines] == ["status", "error"]


def test_deleting_a_job_ends_its_streams(api, live):
    job = api.prepare("sleep")
    with live.stream("GET", f"/v1/prepare-jobs/{job}/events") as response:
        stream = response.iter_lines()
        next(stream)
        api.services.prepare.delete(job, force=True, dry_run=False)
        assert list(stream) == []


def test_a_client_that_disconnects_is_unsubscribed(api, live):
    job = api.prepare("sleep")
    gone = threading.Event()
    events = api.services.prepare.events
    subscribe = events.subscribe

    def watched(job_id, callback):
        unsubscribe = subscribe(job_id, callback)

        def leave():
            unsubscribe()
            gone.set()

        return leave

    events.subscribe = watched
    with live.stream("GET", f"/v1/prepare-jobs/{job}/events") as response:
        next(response.iter_lines())
    assert gone.wait(10)
    assert not events.callbacks[job]


def test_head_of_a_stream_returns_at_once(api, live):
    job = api.prepare("sleep")
    response = live.head(f"/v1/prepare-jobs/{job}/events", headers={"Range": "events=0-"})
    assert response.status_code == 206
    assert response.headers["content-type"] == "application/x-ndjson"


def test_the_number_of_open_streams_is_limited(tmp_path):
    api = Api(tmp_path, max_streams=1)
    job = api.prepare("sleep")
    path = f"/v1/prepare-jobs/{job}/events"
    with serving(api.app) as address:
        client = httpx.Client(base_url="http://{}:{}".format(*address), headers=AUTH, timeout=60)
        with client:
            with client.stream("GET", path) as response:
                lines = response.iter_lines()
                next(lines)
                refused = client.get(path)
                assert refused.status_code == 503
                assert refused.json()["code"] == "unavailable"
                api.services.prepare.cancel(job)
                list(lines)
            assert client.get(path).status_code == 200


def test_a_stalled_reader_does_not_delay_others(api, live):
    job = api.prepare("sleep")
    request = f"GET /v1/prepare-jobs/{job}/events HTTP/1.1\r\nHost: localhost\r\n"
    request += f"Authorization: Bearer {TOKEN}\r\n\r\n"
    address = (live.base_url.host, live.base_url.port)
    with socket.create_connection(address) as stalled:
        stalled.sendall(request.encode())
        assert stalled.recv(100)
        for _ in range(200):
            api.services.prepare.events.append(job, type="log", message="x" * 100_000)
        assert live.get("/v1/health").status_code == 200


def test_an_event_is_one_line_for_every_line_end_of_unicode(api):
    api.prepare("-c", "select '\u2028\u2029\x85'")
    for path in ("/v1/prepare-jobs", "/v1/tasks", "/v1/states"):
        response = api.get(path, headers={"Accept": "application/x-ndjson"})
        rows = [json.loads(line) for line in response.text.splitlines()]
        assert rows == api.get(path).json()
