"""Handlers of the tag ``sources``."""

from ..errors import SourceBlobTooLarge
from .bodies import RawBody
from .replies import Reply, no_content
from .request import Request
from .services import Sources

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
