"""Handlers of the tag ``health``."""

import os

from sqlrs_engine.httpapi.responses import Reply, json_reply
from sqlrs_engine.httpapi.services import Services


async def get_health(services: Services, challenge: str | None = None) -> Reply:
    """Return the identity of the engine, and the proof of it that a challenge asks for."""
    identity = services.identity
    health = {
        "ok": True,
        "version": identity.version,
        "instanceId": identity.instance_id,
        "pid": os.getpid(),
    }
    if challenge is not None:
        health["proof"] = identity.prove(challenge)
    warnings = services.warnings()
    if warnings:
        health["warnings"] = warnings
    return json_reply(health)
