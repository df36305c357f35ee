"""Handlers of the tag ``runs``."""

from .events import run_stream
from .replies import Response
from .request import Request


async def run_command(request: Request) -> Response:
    """Run psql or pgbench and stream its output as it comes."""
    return await run_stream(request, request.services.runs)
