"""Servers that do nothing, for the floor under ours: ``bare`` ASGI and Starlette."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

ITEM = {"name": "n", "instance_id": "0" * 32, "state_id": "0" * 64, "status": "active"}


async def bare(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer everything with the same bytes."""
    if scope["type"] == "http":
        headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})


async def _item(request: Request) -> JSONResponse:
    return JSONResponse(ITEM | {"name": request.path_params["name"]})


starlette = Starlette(routes=[Route("/v1/names/{name}", _item)])


@contextmanager
def serving(app: str) -> Iterator[str]:
    """Serve one of the above as the engine is served, in a process; yields its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", f"{__name__}:{app}", "--port", str(port)]
    command += ["--loop", "uvloop", "--http", "httptools", "--lifespan", "off"]
    process = subprocess.Popen([*command, "--no-access-log", "--log-level", "error"])
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except ConnectionRefusedError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
