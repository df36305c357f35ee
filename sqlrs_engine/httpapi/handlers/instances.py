"""Handlers of the tag ``instances``."""

import hashlib
from functools import partial
from typing import Any

import orjson

from sqlrs_engine import durations
from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.httpapi.request import Request
from sqlrs_engine.httpapi.responses import (
    Reply,
    Response,
    created,
    json_reply,
    pages_reply,
    redirect,
)
from sqlrs_engine.httpapi.serializers import (
    INSTANCE_FIELDS,
    delete_reply,
    instance_details,
    location,
    state_entry,
)
from sqlrs_engine.store import InstanceFilter


async def list_instances(request: Request) -> Response:
    """List instances, without their DSNs."""
    query = request.query
    wanted = InstanceFilter(
        state_id=query.get("state"),
        image_id=query.get("image"),
        id_prefix=query.get("id_prefix"),
    )
    find = partial(request.services.store.instances.find_json, wanted, INSTANCE_FIELDS)
    return pages_reply(find, request.inputs.media_type)


async def get_instance(request: Request) -> Reply:
    """Get an instance; a name redirects to the instance it is bound to."""
    instance, by_name = request.services.registry.instance(request.inputs.path["instance"])
    if by_name:
        return redirect(location("instances", instance.instance_id))
    return json_reply(instance_details(instance))


async def create_instance(request: Request) -> Reply:
    """Start an instance of a state, or of the state that a name stands for."""
    body, services = request.body, request.services
    if ("state_id" in body) == ("from_name" in body):
        raise InvalidArgument("invalid request body", "give either state_id or from_name")
    state_id = body.get("state_id") or services.registry.name(body["from_name"]).state_id
    instance = await request.call(
        services.instances.create,
        state_id,
        name=body.get("name"),
        ttl=_seconds(body.get("ttl")),
        protected=body.get("protected", False),
        **_once(request),
    )
    return created(instance_details(instance), location("instances", instance.instance_id))


async def update_instance(request: Request) -> Reply:
    """Change an instance's time to live or protection."""
    changes: dict[str, Any] = dict(request.body)
    if "ttl" in changes:
        changes["ttl"] = _seconds(changes["ttl"])
    instance = await request.call(
        request.services.instances.update, request.inputs.path["instance"], **changes
    )
    return json_reply(instance_details(instance))


async def reset_instance(request: Request) -> Reply:
    """Put an instance back to its state."""
    instance = await request.call(
        request.services.instances.reset,
        request.inputs.path["instance"],
        force=request.query.get("force", False),
    )
    return json_reply(instance_details(instance))


async def promote_instance(request: Request) -> Reply:
    """Make a state of an instance."""
    state = await request.call(request.services.instances.promote, request.inputs.path["instance"])
    return created(state_entry(state), location("states", state.state_id))


async def delete_instance(request: Request) -> Reply:
    """Delete an instance, or say what would be deleted."""
    result = await request.call(
        request.services.deletion.instance,
        request.inputs.path["instance"],
        force=request.query.get("force", False),
        dry_run=request.query.get("dry_run", False),
    )
    return delete_reply(result)


def _once(request: Request) -> dict[str, Any]:
    """Return digests of the idempotency key and of the body; nothing without a key."""
    key = request.idempotency_key()
    if key is None:
        return {}
    body = orjson.dumps(request.body, option=orjson.OPT_SORT_KEYS)
    return {"made_for": f"request {_digest(key.encode())}", "asked": _digest(body)}


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _seconds(ttl: str | None) -> float | None:
    return None if ttl is None else durations.parse(ttl)
