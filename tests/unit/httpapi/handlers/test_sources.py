"""httpapi.sources: uploads of files; and what a prepare says when files are missing."""

import asyncio
import hashlib
from dataclasses import replace

import httpx
import pytest
from support.http_fakes import TOKEN, Api, services

from sqlrs_engine.errors import SourceInputsMissing
from sqlrs_engine.sources import Sources

HASH = "sha256:" + "ab" * 32


@pytest.fixture
def api(tmp_path):
    made = services(tmp_path)
    sources = Sources(tmp_path, made.config, made.store.jobs.unfinished)
    return Api(tmp_path, services=replace(made, sources=sources), max_body=2000)


@pytest.fixture
def blobs(api):
    return api.services.sources.blobs


def digest_of(content):
    return hashlib.sha256(content).hexdigest()


def put(api, content, digest=None, **options):
    path = f"/v1/source-blobs/sha256/{digest or digest_of(content)}"
    return api("PUT", path, content=content, **options)


def code(response):
    return response.status_code, response.json()["code"]


@pytest.mark.parametrize("content", [b"", b"select 1", b"\0\xff" * 50_000])
@pytest.mark.parametrize("kind", ["application/octet-stream", "text/plain", None])
def test_a_file_of_any_type_is_stored(api, blobs, content, kind):
    for _ in range(2):
        response = put(api, content, headers={"Content-Type": kind} if kind else None)
        assert (response.status_code, response.content) == (204, b"")
    assert blobs.read(digest_of(content)) == content


def test_the_size_limit_of_other_bodies_does_not_apply_to_a_file(api, blobs):
    content = b"x" * 3_000_000
    assert put(api, content).status_code == 204
    assert put(api, chunks(content)(), digest_of(content)).status_code == 204
    assert blobs.read(digest_of(content)) == content


def test_a_file_with_another_digest_is_refused(api, tmp_path):
    assert code(put(api, b"select 1", "ab" * 32)) == (400, "invalid_argument")
    assert code(put(api, b"select 1", "AB" * 32)) == (400, "invalid_argument")
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]


def test_a_file_over_the_limit_is_refused(api, tmp_path):
    api.services.config.set("sources.blobs.maxBytes", 100_000)
    content = b"x" * 100_001
    for body in (content, chunks(content)()):
        response = put(api, body, digest_of(content))
        assert code(response) == (413, "source_blob_too_large")
        assert "100000 bytes" in response.json()["message"]
        assert response.headers["connection"] == "close"
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]


def test_a_client_that_sends_too_much_can_read_the_reason(api):
    api.services.config.set("sources.blobs.maxBytes", 10)
    sent = []

    async def body():
        for _ in range(5):
            sent.append(True)
            yield b"x" * 1_000_000

    assert put(api, body(), "ab" * 32).status_code == 413
    assert len(sent) == 5


def test_an_upload_requires_the_token(api):
    assert code(put(api, b"select 1", token=None)) == (401, "unauthorized")


def test_a_blob_has_no_other_methods(api):
    path = f"/v1/source-blobs/sha256/{'ab' * 32}"
    assert api.get(path).status_code == 405


def test_an_upload_that_stalls_times_out(api, tmp_path):
    api = Api(tmp_path, services=api.services, body_seconds=0.05)

    async def body():
        yield b"x"
        await asyncio.sleep(1)
        yield b"x"

    response = put(api, body(), "ab" * 32)
    assert code(response) == (408, "request_timeout")


def test_a_slow_upload_does_not_time_out(api, tmp_path):
    api = Api(tmp_path, services=api.services, body_seconds=0.2)

    async def body():
        for _ in range(6):
            await asyncio.sleep(0.05)
            yield b"x"

    assert put(api, body(), digest_of(b"x" * 6)).status_code == 204


def test_the_error_lists_the_missing_files(api):
    entries = [{"path": "a.sql", "kind": "file_hash"}]
    blobs = [{"path": "b.sql", "hash": HASH}]

    def submit(request, *, idempotency_key):
        assert request.source_manifest.files == {"b.sql": "ab" * 32}
        raise SourceInputsMissing(
            "source inputs are missing: complete the manifest, and upload the files",
            entries=entries,
            blobs=blobs,
        )

    api.services.prepare.submit = submit
    body = {
        "prepare_kind": "psql",
        "image_id": "postgres",
        "source_manifest": {"workspace_ref": None, "files": {"b.sql": HASH}, "directories": None},
    }
    response = api.post("/v1/prepare-jobs", body)
    assert response.status_code == 409
    assert response.json() == {
        "code": "source_inputs_missing",
        "message": "source inputs are missing: complete the manifest, and upload the files",
        "missing_manifest_entries": entries,
        "missing_blobs": blobs,
    }


@pytest.mark.parametrize(
    ("manifest", "details"),
    [
        ([], "'source_manifest' must be an object"),
        ({"files": {"a": "sha256:AB"}}, "'source_manifest.files.a' must match"),
        ({"files": {"a": "sha256:" + "ab" * 32 + "\n"}}, "'source_manifest.files.a' must match"),
        ({"files": {"../a": HASH}}, "'../a'"),
        ({"files": {"/a": HASH}}, "'/a'"),
        ({"directories": {"a": {"entries": [{"name": "b"}]}}}, "lacks 'kind'"),
        ({"workspace_ref": {"root_path": "app"}}, "app"),
    ],
)
def test_an_invalid_manifest_is_refused(api, manifest, details):
    body = {"prepare_kind": "psql", "image_id": "postgres", "source_manifest": manifest}
    response = api.post("/v1/prepare-jobs", body)
    assert code(response) == (400, "invalid_argument")
    assert details in response.json()["details"]


@pytest.mark.parametrize(("work_dir", "status"), [(r"C:\work", 201), ("/w", 201), ("w", 400)])
def test_the_work_dir_of_a_client_may_have_another_syntax(api, work_dir, status):
    body = {
        "prepare_kind": "psql",
        "image_id": "postgres",
        "work_dir": work_dir,
        "source_manifest": {},
    }
    assert api.post("/v1/prepare-jobs", body).status_code == status


def test_a_large_body_is_refused_by_an_operation_without_one(api):
    async def call():
        transport = httpx.ASGITransport(api.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            headers = {"Authorization": f"Bearer {TOKEN}", "Content-Length": "2001"}
            return await client.request("GET", "/v1/names", headers=headers)

    assert code(asyncio.run(call())) == (413, "payload_too_large")


def chunks(content):
    """Return a function that makes a body without a declared length."""

    async def body():
        for start in range(0, len(content), 50_000):
            yield content[start : start + 50_000]

    return body
