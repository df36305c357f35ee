"""Handlers of the tag ``runs``."""

from starlette.responses import Response

from sqlrs_engine.httpapi.services import Services
from sqlrs_engine.httpapi.streams import run_stream
from sqlrs_engine.store.records import Json


async def run_command(services: Services, body: Json) -> Response:
    """Run psql or pgbench and stream its output at once."""
    return await run_stream(services, body)
