"""Handlers of the tag ``metrics``."""

from sqlrs_engine.httpapi.request import Request
from sqlrs_engine.httpapi.responses import Reply
from sqlrs_engine.metrics import CONTENT_TYPE


async def get_metrics(request: Request) -> Reply:
    """Show what the engine has counted, for Prometheus."""
    text = await request.call(request.services.metrics.render)
    return Reply(text, media_type=f"{CONTENT_TYPE}; version=0.0.4; charset=utf-8".encode())
