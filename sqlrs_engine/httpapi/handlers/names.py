"""Handlers of the tag ``names``."""

from functools import partial

from sqlrs_engine.httpapi.request import Request
from sqlrs_engine.httpapi.responses import (
    Reply,
    Response,
    created,
    json_reply,
    no_content,
    pages_reply,
)
from sqlrs_engine.httpapi.serializers import NAME_FIELDS, location, name_entry
from sqlrs_engine.store import NameFilter


async def list_names(request: Request) -> Response:
    """List names, all or those of an instance, state or image."""
    query = request.query
    wanted = NameFilter(
        instance_id=query.get("instance"),
        state_id=query.get("state"),
        image_id=query.get("image"),
    )
    find = partial(request.services.store.names.find_json, wanted, NAME_FIELDS)
    return pages_reply(find, request.inputs.media_type)


async def get_name(request: Request) -> Reply:
    """Get a name."""
    return json_reply(name_entry(request.services.registry.name(request.inputs.path["name"])))


async def put_name(request: Request) -> Reply:
    """Bind a name to an instance."""
    name, is_new = await request.call(
        request.services.registry.bind, request.inputs.path["name"], request.body["instance_id"]
    )
    entry = name_entry(name)
    return created(entry, location("names", name.name)) if is_new else json_reply(entry)


async def delete_name(request: Request) -> Reply:
    """Delete a name."""
    await request.call(request.services.registry.unbind, request.inputs.path["name"])
    return no_content()
