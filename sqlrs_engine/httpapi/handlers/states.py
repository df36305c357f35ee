"""Handlers of the tag ``states``."""

from functools import partial

from sqlrs_engine.errors import NotFound
from sqlrs_engine.httpapi.request import Request
from sqlrs_engine.httpapi.responses import Reply, Response, json_reply, pages_reply
from sqlrs_engine.httpapi.serializers import STATE_FIELDS, delete_reply, state_entry
from sqlrs_engine.store import StateFilter


async def list_states(request: Request) -> Response:
    """List states."""
    query = request.query
    wanted = StateFilter(
        prepare_kind=query.get("kind"),
        image_id=query.get("image"),
        id_prefix=query.get("id_prefix"),
    )
    find = partial(request.services.store.states.find_json, wanted, STATE_FIELDS)
    return pages_reply(find, request.inputs.media_type)


async def get_state(request: Request) -> Reply:
    """Get a state."""
    state_id = request.inputs.path["stateId"]
    state = request.services.store.states.get(state_id)
    if state is None:
        raise NotFound.of("state", state_id)
    return json_reply(state_entry(state))


async def delete_state(request: Request) -> Reply:
    """Delete a state, or say what would be deleted or blocks it."""
    query = request.query
    result = await request.call(
        request.services.deletion.state,
        request.inputs.path["stateId"],
        recurse=query.get("recurse", False),
        force=query.get("force", False),
        dry_run=query.get("dry_run", False),
    )
    return delete_reply(result)
