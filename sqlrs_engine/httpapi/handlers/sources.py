"""Handlers of the tag ``sources``."""

from sqlrs_engine.errors import SourceBlobTooLarge
from sqlrs_engine.httpapi.request_bodies import RawBody
from sqlrs_engine.httpapi.responses import Reply, no_content
from sqlrs_engine.httpapi.services import Services

_DRAIN_SECONDS = 5.0


async def put_source_blob_sha256(services: Services, digest: str, body: RawBody) -> Reply:
    """Store the body under its digest, piece by piece."""
    try:
        await _receive(services, digest, body)
    except SourceBlobTooLarge:
        # A client that is disconnected while it sends would not see the reason.
        await body.drain(_DRAIN_SECONDS)
        raise
    return no_content()


async def _receive(services: Services, digest: str, body: RawBody) -> None:
    with await services.call(services.sources.receive, digest, body.declared) as upload:
        async for piece in body.pieces():
            await services.call(upload.write, piece)
        await services.call(upload.finish)
