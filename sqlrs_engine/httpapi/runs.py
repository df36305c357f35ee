"""Handlers of the tag ``runs``."""

from ..errors import NotImplementedYet
from .events import run_stream
from .replies import Response
from .request import Request


async def create_run(request: Request) -> Response:
    """Run psql or pgbench and stream its output as it comes."""
    runs = request.services.runs
    if runs is None:
        raise NotImplementedYet("this version cannot run programs against an instance")
    return await run_stream(request, runs)
