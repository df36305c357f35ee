"""Handlers of the tag ``runs``."""

from sqlrs_engine.httpapi.request import Request
from sqlrs_engine.httpapi.responses import Response
from sqlrs_engine.httpapi.streams import run_stream


async def run_command(request: Request) -> Response:
    """Run psql or pgbench and stream its output as it comes."""
    return await run_stream(request, request.services.runs)
