"""Handlers of the tag ``health``."""

from sqlrs_engine.httpapi.request import Request
from sqlrs_engine.httpapi.responses import Reply, json_reply


async def get_health(request: Request) -> Reply:
    """Return the engine's identity, with a proof of it when challenged."""
    context = request.context
    health = {
        "ok": True,
        "version": context.version,
        "instanceId": context.instance_id,
        "pid": context.pid,
    }
    challenge = request.query.get("challenge")
    if challenge is not None:
        health["proof"] = context.prove(challenge)
    warnings = context.services.warnings()
    if warnings:
        health["warnings"] = warnings
    return json_reply(health)
