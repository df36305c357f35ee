"""httpapi.responses: lists of any length, as JSON and as NDJSON."""

import asyncio
import json

import pytest
from starlette.requests import ClientDisconnect
from support.http_fakes import Api

from sqlrs_engine.httpapi.responses import StreamReply
from sqlrs_engine.store.sqlite import hot_reads


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path)


@pytest.mark.parametrize("page_rows", [1, 2, 3, 4])
def test_a_list_of_any_number_of_pages_is_one_document(api, monkeypatch, page_rows):
    monkeypatch.setattr(hot_reads, "PAGE_ROWS", page_rows)
    ident = api.instance()["instance_id"]
    for number in (1, 2, 3):
        api("PUT", f"/v1/names/n{number}", json={"instance_id": ident})
    names = ["n1", "n2", "n3"]
    array = api.get("/v1/names")
    assert [each["name"] for each in array.json()] == names
    assert array.headers["content-type"] == "application/json"
    lines = api.get("/v1/names", headers={"Accept": "application/x-ndjson"})
    assert [json.loads(line)["name"] for line in lines.text.splitlines()] == names
    assert lines.text.endswith("}\n")
    assert lines.headers["content-type"].startswith("application/x-ndjson")


@pytest.mark.parametrize("path", ["names", "instances", "states", "prepare-jobs", "tasks"])
def test_every_empty_list_is_an_empty_array_or_no_lines(api, path):
    assert api.get(f"/v1/{path}").content == b"[]\n"
    lines = api.get(f"/v1/{path}", headers={"Accept": "application/x-ndjson"})
    assert lines.content == b""


def test_a_stream_ends_when_its_client_leaves_in_the_middle_of_a_body():
    ended = []

    async def endless():
        yield b"first"
        await asyncio.Event().wait()

    async def receive():
        raise ClientDisconnect

    async def send(_message):
        pass

    reply = StreamReply(endless(), on_end=lambda: ended.append(True))
    scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
    asyncio.run(asyncio.wait_for(reply(scope, receive, send), 30))
    assert ended == [True]
