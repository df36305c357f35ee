"""Handlers of the tag ``health``."""

from .replies import Reply, json_reply
from .request import Request


async def get_health(request: Request) -> Reply:
    """Tell that the engine is up and which one it is."""
    context = request.context
    return json_reply(
        {
            "ok": True,
            "version": context.version,
            "instanceId": context.instance_id,
            "pid": context.pid,
        }
    )
