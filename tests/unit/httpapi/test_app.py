"""httpapi.app: the parts together."""

import asyncio

import pytest
from support.http_fakes import Api


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path)


def test_the_application_answers_the_lifespan_events_of_a_server(api):
    sent = []
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message["type"])

    asyncio.run(api.app({"type": "lifespan"}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_websocket_is_closed(api):
    sent = []

    async def send(message):
        sent.append(message["type"])

    asyncio.run(api.app({"type": "websocket"}, None, send))
    assert sent == ["websocket.close"]


def test_two_applications_share_nothing(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = Api(tmp_path / "a"), Api(tmp_path / "b")
    first.prepare("-c", "select 1")
    assert len(first.get("/v1/instances").json()) == 1
    assert second.get("/v1/instances").json() == []
