"""Handlers of the tag ``names``."""

from functools import partial

from starlette.responses import Response

from sqlrs_engine.httpapi.request_validation import Request
from sqlrs_engine.httpapi.responses import Reply, created, json_reply, no_content, pages_reply
from sqlrs_engine.httpapi.serializers import NAME_FIELDS, location, name_entry
from sqlrs_engine.httpapi.services import Services
from sqlrs_engine.store import NameFilter
from sqlrs_engine.store.records import Json


async def list_names(
    services: Services,
    request: Request,
    instance: str | None = None,
    state: str | None = None,
    image: str | None = None,
) -> Response:
    """List all names, or the names of an instance, a state or an image."""
    wanted = NameFilter(instance_id=instance, state_id=state, image_id=image)
    find = partial(services.store.names.find_json, wanted, NAME_FIELDS)
    return pages_reply(find, request.media_type)


async def get_name(services: Services, name: str) -> Reply:
    """Get a name."""
    return json_reply(name_entry(services.registry.name(name)))


async def put_name(services: Services, name: str, body: Json) -> Reply:
    """Bind a name to an instance."""
    bound, is_new = await services.call(services.registry.bind, name, body["instance_id"])
    entry = name_entry(bound)
    return created(entry, location("names", bound.name)) if is_new else json_reply(entry)


async def delete_name(services: Services, name: str) -> Reply:
    """Delete a name."""
    await services.call(services.registry.unbind, name)
    return no_content()
