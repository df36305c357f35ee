"""Handlers of the tag ``states``."""

from functools import partial

from starlette.responses import Response

from sqlrs_engine.errors import NotFound
from sqlrs_engine.httpapi.request_validation import Request
from sqlrs_engine.httpapi.responses import Reply, json_reply, pages_reply
from sqlrs_engine.httpapi.serializers import STATE_FIELDS, delete_reply, state_entry
from sqlrs_engine.httpapi.services import Services
from sqlrs_engine.store import StateFilter


async def list_states(
    services: Services,
    request: Request,
    kind: str | None = None,
    image: str | None = None,
    id_prefix: str | None = None,
) -> Response:
    """List states."""
    wanted = StateFilter(prepare_kind=kind, image_id=image, id_prefix=id_prefix)
    find = partial(services.store.states.find_json, wanted, STATE_FIELDS)
    return pages_reply(find, request.media_type)


async def get_state(services: Services, state_id: str) -> Reply:
    """Get a state."""
    state = services.store.states.get(state_id)
    if state is None:
        raise NotFound.of("state", state_id)
    return json_reply(state_entry(state))


async def delete_state(
    services: Services,
    state_id: str,
    recurse: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> Reply:
    """Delete a state, or show what would be deleted or blocks it."""
    result = await services.call(
        services.deletion.state, state_id, recurse=recurse, force=force, dry_run=dry_run
    )
    return delete_reply(result)
