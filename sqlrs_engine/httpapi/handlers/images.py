"""Handlers of the tag ``images``."""

from sqlrs_engine.httpapi.request_validation import Request
from sqlrs_engine.httpapi.responses import Reply, list_reply
from sqlrs_engine.httpapi.serializers import image_entry
from sqlrs_engine.httpapi.services import Services


async def list_images(services: Services, request: Request) -> Reply:
    """List the images of this machine."""
    images = await services.call(services.images.list)
    return list_reply([image_entry(image) for image in images], request.media_type)
