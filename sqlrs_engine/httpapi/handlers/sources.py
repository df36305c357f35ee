"""Handlers of the tag ``sources``."""

from sqlrs_engine.errors import SourceBlobTooLarge
from sqlrs_engine.httpapi.request import Request
from sqlrs_engine.httpapi.request_bodies import RawBody
from sqlrs_engine.httpapi.responses import Reply, no_content
from sqlrs_engine.httpapi.services import Sources

_DRAIN_SECONDS = 5.0


async def put_source_blob_sha256(request: Request) -> Reply:
    """Store the body under its digest, writing it as it comes."""
    sources, body = request.services.sources, request.body
    try:
        await _receive(request, sources, body)
    except SourceBlobTooLarge:
        # Cut off while it sends, a client would see that instead of the reason.
        await body.drain(_DRAIN_SECONDS)
        raise
    return no_content()


async def _receive(request: Request, sources: Sources, body: RawBody) -> None:
    digest = request.inputs.path["digest"]
    with await request.call(sources.receive, digest, body.declared) as upload:
        async for piece in body.pieces():
            await request.call(upload.write, piece)
        await request.call(upload.finish)
