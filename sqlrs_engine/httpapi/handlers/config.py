"""Handlers of the tag ``config``."""

from typing import Any

from sqlrs_engine.httpapi.responses import Reply, json_reply
from sqlrs_engine.httpapi.services import Services
from sqlrs_engine.store.records import Json


async def get_config(services: Services, path: str | None = None, effective: bool = False) -> Reply:
    """Return all settings, or the setting at a path."""
    config = services.config
    if path is None:
        return json_reply(config.effective() if effective else config.overrides())
    return json_reply({"path": path, "value": config.get(path, effective)})


async def set_config(services: Services, body: Json) -> Reply:
    """Set a setting and return it as given. Without a value, restore its default."""
    path, value = body["path"], body.get("value")
    await services.call(services.config.set, path, value)
    return json_reply(_setting(services, path, value))


async def remove_config(services: Services, path: str) -> Reply:
    """Restore the default of a setting and return it."""
    value = await services.call(services.config.remove, path)
    return json_reply(_setting(services, path, value))


async def get_config_schema(services: Services) -> Reply:
    """Return the JSON schema of the settings."""
    return json_reply(services.config.schema())


def _setting(services: Services, path: str, value: Any) -> Json:
    """Return a changed setting, with a hint if the change takes effect at the next start."""
    setting = {"path": path, "value": value}
    if services.config.needs_restart(path):
        setting["restart_required"] = True
    return setting
