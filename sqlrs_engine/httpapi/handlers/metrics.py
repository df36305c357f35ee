"""Handlers of the tag ``metrics``."""

from sqlrs_engine.httpapi.responses import Reply
from sqlrs_engine.httpapi.services import Services
from sqlrs_engine.metrics import CONTENT_TYPE


async def get_metrics(services: Services) -> Reply:
    """Return the metrics in the Prometheus text format."""
    text = await services.call(services.metrics.render)
    return Reply(text, media_type=f"{CONTENT_TYPE}; version=0.0.4; charset=utf-8".encode())
