"""Handlers of the tag ``cache``."""

from sqlrs_engine.httpapi.responses import Reply, json_reply
from sqlrs_engine.httpapi.services import Services
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.store.records import Json


async def get_cache_status(services: Services) -> Reply:
    """Show the cache's size and limits."""
    return json_reply(await services.call(services.cache.status))


async def explain_prepare_cache(services: Services, body: Json) -> Reply:
    """Return whether a prepare would hit the cache."""
    return json_reply(await services.call(_explain, services, body))


def _explain(services: Services, body: Json) -> Json:
    return services.cache.explain(PrepareRequest.from_json(body))
