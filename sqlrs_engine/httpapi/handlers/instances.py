"""Handlers of the tag ``instances``."""

import hashlib
from functools import partial
from typing import Any

import orjson
from starlette.responses import Response

from sqlrs_engine import durations
from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.httpapi.request_validation import Request
from sqlrs_engine.httpapi.responses import Reply, created, json_reply, pages_reply, redirect
from sqlrs_engine.httpapi.serializers import (
    INSTANCE_FIELDS,
    delete_reply,
    instance_details,
    location,
    state_entry,
)
from sqlrs_engine.httpapi.services import Services
from sqlrs_engine.store import InstanceFilter
from sqlrs_engine.store.records import Json


async def list_instances(
    services: Services,
    request: Request,
    state: str | None = None,
    image: str | None = None,
    id_prefix: str | None = None,
) -> Response:
    """List instances, without their DSNs."""
    wanted = InstanceFilter(state_id=state, image_id=image, id_prefix=id_prefix)
    find = partial(services.store.instances.find_json, wanted, INSTANCE_FIELDS)
    return pages_reply(find, request.media_type)


async def get_instance(services: Services, instance: str) -> Reply:
    """Get an instance; a name redirects to the instance it is bound to."""
    found, by_name = services.registry.instance(instance)
    if by_name:
        return redirect(location("instances", found.instance_id))
    return json_reply(instance_details(found))


async def create_instance(
    services: Services, body: Json, idempotency_key: str | None = None
) -> Reply:
    """Start an instance of a state, or of the state of a name's instance."""
    if ("state_id" in body) == ("from_name" in body):
        raise InvalidArgument("invalid request body", "give either state_id or from_name")
    state_id = body.get("state_id") or services.registry.name(body["from_name"]).state_id
    made_for, request_digest = _once(body, idempotency_key)
    instance = await services.call(
        services.instances.creation.create,
        state_id,
        name=body.get("name"),
        ttl=_seconds(body.get("ttl")),
        protected=body.get("protected", False),
        made_for=made_for,
        request_digest=request_digest,
    )
    return created(instance_details(instance), location("instances", instance.instance_id))


async def update_instance(services: Services, instance: str, body: Json) -> Reply:
    """Change an instance's time to live or protection."""
    changes: dict[str, Any] = dict(body)
    if "ttl" in changes:
        changes["ttl"] = _seconds(changes["ttl"])
    changed = await services.call(services.instances.expiry.update, instance, **changes)
    return json_reply(instance_details(changed))


async def reset_instance(services: Services, instance: str, force: bool = False) -> Reply:
    """Reset an instance to its state."""
    as_new = await services.call(services.instances.reset.apply, instance, force=force)
    return json_reply(instance_details(as_new))


async def promote_instance(services: Services, instance: str) -> Reply:
    """Create a state from an instance."""
    state = await services.call(services.instances.promotion.promote, instance)
    return created(state_entry(state), location("states", state.state_id))


async def delete_instance(
    services: Services, instance: str, force: bool = False, dry_run: bool = False
) -> Reply:
    """Delete an instance, or show what would be deleted."""
    result = await services.call(services.deletion.instance, instance, force=force, dry_run=dry_run)
    return delete_reply(result)


def _once(body: Json, idempotency_key: str | None) -> tuple[str, str] | tuple[None, None]:
    """Return digests of the idempotency key and of the body; no digests without a key."""
    if idempotency_key is None:
        return None, None
    text = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return f"request {_digest(idempotency_key.encode())}", _digest(text)


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _seconds(ttl: str | None) -> float | None:
    return None if ttl is None else durations.parse(ttl)
