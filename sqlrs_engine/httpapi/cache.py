"""Handlers of the tag ``cache``."""

from ..errors import NotImplementedYet
from ..prepare.request import PrepareRequest
from .replies import Reply, json_reply
from .request import Request
from .services import Cache


async def get_cache_status(request: Request) -> Reply:
    """Show the cache's size and limits."""
    return json_reply(await request.call(_cache(request).status))


async def explain_prepare(request: Request) -> Reply:
    """Tell whether a prepare would hit the cache."""
    cache = _cache(request)
    asked = PrepareRequest.from_json(request.body)
    return json_reply(await request.call(cache.explain, asked))


def _cache(request: Request) -> Cache:
    if request.services.cache is None:
        raise NotImplementedYet("this version does not account for its cache")
    return request.services.cache
