"""Handlers of the tag ``dumps``."""

import anyio

from sqlrs_engine.deletion import DeleteResult, Node
from sqlrs_engine.httpapi.request_bodies import RawBody
from sqlrs_engine.httpapi.request_validation import Request
from sqlrs_engine.httpapi.responses import Reply, created, json_reply, list_reply
from sqlrs_engine.httpapi.serializers import delete_reply, dump_entry, location
from sqlrs_engine.httpapi.services import Services

_PIECE_SECONDS = 3600.0
"""pg_dump is silent while it waits for a lock, or reads a table whose rows are all dead."""


async def create_dump(services: Services, body: RawBody, label: str | None = None) -> Reply:
    """Keep the body, piece by piece."""
    body.wait(_PIECE_SECONDS)
    upload = await services.call(services.dumps.receive, body.declared)
    try:
        async for piece in body.pieces():
            await services.call(upload.write, piece)
        dump, is_new = await services.call(services.dumps.keep, upload, label)
    finally:
        with anyio.CancelScope(shield=True):
            await services.call(services.dumps.end, upload)
    entry = dump_entry(dump)
    return created(entry, location("dumps", dump.dump_id)) if is_new else json_reply(entry)


async def list_dumps(services: Services, request: Request, id_prefix: str | None = None) -> Reply:
    """List the kept dumps."""
    dumps = services.dumps.find(id_prefix)
    return list_reply([dump_entry(dump) for dump in dumps], request.media_type)


async def get_dump(services: Services, dump_id: str) -> Reply:
    """Get a kept dump."""
    return json_reply(dump_entry(services.dumps.get(dump_id)))


async def delete_dump(services: Services, dump_id: str, dry_run: bool = False) -> Reply:
    """Delete a kept dump, unless a job uses it."""
    await services.call(services.dumps.delete, dump_id, dry_run=dry_run)
    root = Node(kind="dump", id=dump_id)
    return delete_reply(DeleteResult.of(root, dry_run=dry_run))
