"""Handlers of the tag ``config``."""

from typing import Any

from sqlrs_engine.httpapi.request import Request
from sqlrs_engine.httpapi.responses import Reply, json_reply
from sqlrs_engine.store.records import Json


async def get_config(request: Request) -> Reply:
    """Read all settings, or the one at a path."""
    config = request.services.config
    effective = request.query.get("effective", False)
    path = request.query.get("path")
    if path is None:
        return json_reply(config.effective() if effective else config.overrides())
    return json_reply({"path": path, "value": config.get(path, effective)})


async def set_config(request: Request) -> Reply:
    """Set a setting and return it as given; without a value it goes back to its default."""
    path, value = request.body["path"], request.body.get("value")
    await request.call(request.services.config.set, path, value)
    return json_reply(_setting(request, path, value))


async def remove_config(request: Request) -> Reply:
    """Put a setting back to its default and return that."""
    path = request.query["path"]
    value = await request.call(request.services.config.remove, path)
    return json_reply(_setting(request, path, value))


async def get_config_schema(request: Request) -> Reply:
    """Return the JSON schema of the settings."""
    return json_reply(request.services.config.schema())


def _setting(request: Request, path: str, value: Any) -> Json:
    """A changed setting, with a hint when the change waits for the next start."""
    setting = {"path": path, "value": value}
    if request.services.config.needs_restart(path):
        setting["restart_required"] = True
    return setting
