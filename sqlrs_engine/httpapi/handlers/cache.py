"""Handlers of the tag ``cache``."""

from sqlrs_engine.httpapi.request import Request
from sqlrs_engine.httpapi.responses import Reply, json_reply
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.store.records import Json


async def get_cache_status(request: Request) -> Reply:
    """Show the cache's size and limits."""
    return json_reply(await request.call(request.services.cache.status))


async def explain_prepare_cache(request: Request) -> Reply:
    """Return whether a prepare would hit the cache."""
    return json_reply(await request.call(_explain, request))


def _explain(request: Request) -> Json:
    return request.services.cache.explain(PrepareRequest.from_json(request.body))
