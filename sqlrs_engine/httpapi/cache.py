"""Handlers of the tag ``cache``."""

from ..prepare.request import PrepareRequest
from .replies import Reply, json_reply
from .request import Request


async def get_cache_status(request: Request) -> Reply:
    """Show the cache's size and limits."""
    return json_reply(await request.call(request.services.cache.status))


async def explain_prepare_cache(request: Request) -> Reply:
    """Tell whether a prepare would hit the cache."""
    asked = PrepareRequest.from_json(request.body)
    return json_reply(await request.call(request.services.cache.explain, asked))
