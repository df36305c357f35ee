"""httpapi.dumps: uploads, lists and deletions of kept dumps."""

import asyncio
import hashlib
from dataclasses import replace

import pytest
from support.http_fakes import Api, services

from sqlrs_engine.dumps import Dumps
from sqlrs_engine.errors import StorageFull
from sqlrs_engine.httpapi.handlers import dumps as handlers

CONTENT = b"PGDMP" + b"x" * 3_000_000
ID = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path, max_body=2000)


def put(api, content=CONTENT, label=None, **options):
    return api("POST", "/v1/dumps", content=content, params={"label": label or ""}, **options)


def code(response):
    return response.status_code, response.json()["code"]


def files(tmp_path):
    return [path for path in (tmp_path / "dumps").rglob("*") if path.is_file()]


async def pieces(content, size=100_000):
    for at in range(0, len(content), size):
        yield content[at : at + size]


def test_a_dump_is_uploaded_in_chunks_or_whole(api):
    made = put(api, pieces(CONTENT), "app, today")
    assert made.status_code == 201
    assert made.headers["location"] == f"/v1/dumps/{ID}"
    entry = made.json()
    assert (entry["dump_id"], entry["size_bytes"]) == (ID, len(CONTENT))
    assert entry["label"] == "app, today"
    again = put(api)
    assert again.status_code == 200
    assert again.json() | {"last_used_at": ""} == entry | {"last_used_at": ""}
    assert api.get(f"/v1/dumps/{ID}").json() == again.json()


def test_dumps_are_listed(api):
    assert api.get("/v1/dumps").json() == []
    one = put(api, b"one").json()
    two = put(api, b"two").json()
    assert api.get("/v1/dumps").json() == [one, two]
    found = api.get("/v1/dumps", params={"id_prefix": two["dump_id"][:8].upper()})
    assert found.json() == [two]
    lines = api.get("/v1/dumps", headers={"Accept": "application/x-ndjson"})
    assert len(lines.content.splitlines()) == 2


def test_a_dump_is_deleted(api, tmp_path):
    put(api)
    path = f"/v1/dumps/{ID}"
    dry = api("DELETE", path, params={"dry_run": True}).json()
    assert (dry["outcome"], dry["root"]) == ("would_delete", {"kind": "dump", "id": ID})
    assert api("DELETE", path).json()["outcome"] == "deleted"
    assert code(api("DELETE", path)) == (404, "not_found")
    assert code(api.get(path)) == (404, "not_found")
    assert not files(tmp_path)


def test_a_dump_that_a_job_uses_is_not_deleted(api):
    put(api)
    job = api.prepare("sleep")
    api.store.jobs.update(job, request={"stages": [{"kind": "dump", "dump_id": ID}]})
    refused = api("DELETE", f"/v1/dumps/{ID}")
    assert code(refused) == (409, "conflict")
    assert job in refused.json()["details"]
    api.post(f"/v1/prepare-jobs/{job}/cancel")
    assert api("DELETE", f"/v1/dumps/{ID}").status_code == 200


def test_an_empty_or_compressed_dump_is_refused(api, tmp_path):
    assert code(put(api, b"")) == (400, "invalid_argument")
    refused = put(api, b"x", headers={"Content-Encoding": "gzip"})
    assert code(refused) == (415, "unsupported_media_type")
    assert code(put(api, b"x", token=None)) == (401, "unauthorized")
    assert code(put(api, b"x", "x" * 513)) == (400, "invalid_argument")
    assert not files(tmp_path)


class NoRoom:
    def make_room(self, phase, *, growth):
        raise StorageFull("no room")


def test_an_upload_without_room_is_refused(tmp_path):
    made = services(tmp_path)
    dumps = Dumps(tmp_path, made.store.jobs.unfinished, NoRoom)
    refused = put(Api(tmp_path, services=replace(made, dumps=dumps)), b"x")
    assert code(refused) == (507, "cache_full_unreclaimable")


def test_an_upload_may_pause_for_long(tmp_path, monkeypatch):
    api = Api(tmp_path, body_seconds=0.05)

    async def body():
        yield b"x"
        await asyncio.sleep(0.3)
        yield b"x"

    assert put(api, body()).status_code == 201
    monkeypatch.setattr(handlers, "_PIECE_SECONDS", 0.05)
    assert code(put(api, body())) == (408, "request_timeout")
