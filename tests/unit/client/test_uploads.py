"""The client's uploads: in pieces, refused, and broken off."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.http_fakes import TOKEN, app, services, serving

from sqlrs_engine.client.engine_client import ApiError, EngineClient
from sqlrs_engine.errors import DumpFailed, InvalidArgument, Unavailable


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineClient]:
    with (
        serving(app(services(tmp_path))) as (host, port),
        EngineClient(f"http://{host}:{port}", TOKEN) as client,
    ):
        yield client


def test_pieces_of_unknown_size(engine: EngineClient) -> None:
    pieces = (b"x" * 100_000 for _ in range(30))
    kept = engine.upload("/dumps", pieces, {"label": "aé & b"})
    assert (kept["size_bytes"], kept["label"]) == (3_000_000, "aé & b")
    assert engine.get("/dumps") == [kept]


def test_a_refusal(engine: EngineClient) -> None:
    with pytest.raises(ApiError, match="the dump is empty") as failure:
        engine.upload("/dumps", [], {"label": None})
    assert failure.value.http_status == 400


@pytest.mark.parametrize("error", [DumpFailed("failed"), KeyboardInterrupt()])
def test_what_the_pieces_raise_breaks_it_off(engine: EngineClient, error: BaseException) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x" * 3_000_000
        raise error

    with pytest.raises(type(error)):
        engine.upload("/dumps", pieces(), {})
    assert engine.get("/dumps") == []


def test_an_engine_that_is_gone() -> None:
    with (
        EngineClient("http://127.0.0.1:1", TOKEN) as client,
        pytest.raises((Unavailable, InvalidArgument)),
    ):
        client.upload("/dumps", [b"x"], {})
