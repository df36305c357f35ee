"""The configuration's JSON schema: every path with its type, default and meaning.

Beside the standard keywords (draft 2020-12):

* ``format: go-duration``: text such as ``10m`` or ``1h30m``, not negative;
* ``x-ignore-case``: letter case and surrounding blanks of the value do not matter;
* ``x-reserved-names``: keys the object must not have, nor any key twice, where the case of
  ASCII letters does not matter;
* ``x-restart``: a change takes effect when the engine starts next.

Paths that are not described here are accepted with any value, except below
``instances``, ``pool``, ``postgres`` and ``sources``, where they can only be a slip of
the pen.
"""

import copy
from collections.abc import Iterator
from typing import Any

from . import reserved

Schema = dict[str, Any]


def build() -> Schema:
    """Return a fresh copy of the whole schema."""
    return copy.deepcopy(_SCHEMA)


def leaves(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield the paths that hold values, each with its own schema."""
    for name, child in schema["properties"].items():
        below = f"{path}.{name}" if path else name
        if "properties" in child:
            yield from leaves(child, below)
        else:
            yield below, child


def defaults(schema: Schema) -> dict[str, Any]:
    """Return the configuration that consists of defaults only."""
    return {
        name: defaults(child) if "properties" in child else copy.deepcopy(child["default"])
        for name, child in schema["properties"].items()
    }


def _object(description: str, *, closed: bool = False, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": not closed,
    }


def _leaf(kind: str, default: Any, description: str, **keywords: Any) -> Schema:
    restart = keywords.pop("restart", False)
    schema = {"type": [kind, "null"], "default": default, "description": description, **keywords}
    return schema | {"x-restart": True} if restart else schema


def _choice(default: str, choices: tuple[str, ...], description: str, **keywords: Any) -> Schema:
    return _leaf("string", default, description, enum=[*choices, None], **keywords)


def _duration(default: str, description: str) -> Schema:
    return _leaf("string", default, description, format="go-duration")


def _port(default: int, description: str) -> Schema:
    return _leaf("integer", default, description, minimum=1024, maximum=65535)


_SCHEMA: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "sqlrs engine configuration",
    **_object(
        "Overrides of the engine's defaults; null means the default.",
        log=_object(
            "The engine's log.",
            level=_choice(
                "debug",
                ("debug", "info", "warn", "error"),
                "Least severe messages that are logged.",
                **{"x-ignore-case": True},
            ),
        ),
        snapshot=_object(
            "How states are copied.",
            backend=_choice(
                "auto",
                ("auto", "overlay", "btrfs", "reflink", "copy"),
                "How state directories are cloned; auto takes the fastest that the state "
                "store's filesystem supports.",
                restart=True,
            ),
        ),
        container=_object(
            "Containers.",
            runtime=_choice(
                "auto",
                ("auto", "docker", "podman"),
                "Container runtime for images that no installed PostgreSQL provides.",
                restart=True,
            ),
        ),
        orchestrator=_object(
            "Prepare jobs.",
            jobs=_object(
                "Prepare jobs.",
                maxIdentical=_leaf(
                    "integer",
                    2,
                    "Finished jobs kept for each set of identical inputs; older ones are "
                    "deleted, their instances are not. 0 keeps all.",
                    minimum=0,
                ),
                maxFinished=_leaf(
                    "integer",
                    1000,
                    "Finished jobs kept in all; the oldest are deleted, their states and "
                    "instances are not. 0 keeps all.",
                    minimum=0,
                ),
                maxAge=_duration(
                    "720h",
                    "How long a finished job is kept, its events included; 0 keeps it for ever. "
                    "Its states and its instance stay.",
                ),
                workers=_leaf(
                    "integer",
                    4,
                    "Jobs that build states at the same time; further ones wait. Jobs whose "
                    "states are all cached do not count.",
                    minimum=1,
                    maximum=256,
                    restart=True,
                ),
            ),
        ),
        cache=_object(
            "Cached states.",
            capacity=_object(
                "How much disk the cached states may take.",
                maxBytes=_leaf(
                    "integer",
                    0,
                    "Upper limit of the states' apparent size in bytes; 0 leaves it to the disk "
                    "and the reserve, and where clones share their blocks to free space alone.",
                    minimum=0,
                ),
                reserveBytes=_leaf(
                    "integer",
                    None,
                    "Bytes of the filesystem that eviction keeps free; null means 10 GiB or a "
                    "tenth of the filesystem, whichever is more, but at most half of it.",
                    minimum=0,
                ),
                highWatermark=_leaf(
                    "number",
                    0.90,
                    "Share of the limit at which eviction starts; above lowWatermark.",
                    exclusiveMinimum=0,
                    maximum=1,
                ),
                lowWatermark=_leaf(
                    "number",
                    0.80,
                    "Share of the limit at which eviction stops; below highWatermark.",
                    exclusiveMinimum=0,
                    maximum=1,
                ),
                minStateAge=_duration("10m", "Younger states are never evicted."),
            ),
        ),
        sources=_object(
            "Files of clients on other machines.",
            closed=True,
            blobs=_object(
                "Uploaded files.",
                closed=True,
                maxBytes=_leaf(
                    "integer", 256 * 1024 * 1024, "Size of the largest file in bytes.", minimum=1
                ),
                ttl=_duration(
                    "24h",
                    "How long an uploaded file is kept that no unfinished job needs, counted from "
                    "its last use; never less than 10 minutes.",
                ),
            ),
        ),
        instances=_object(
            "Running instances.",
            closed=True,
            ttl=_duration(
                "24h",
                "How long an instance lives after its last activity, unless it has a name, a "
                "protection or a time to live of its own; 0 is forever.",
            ),
            ports=_object(
                "TCP ports on which instances listen.",
                closed=True,
                first=_port(20000, "First port; not above last."),
                last=_port(29999, "Last port."),
            ),
            maxRunning=_leaf(
                "integer", 0, "Most instances that may exist at once; 0 is no limit.", minimum=0
            ),
        ),
        liquibase=_object(
            "Liquibase, which applies changelogs.",
            closed=True,
            exec=_leaf(
                "string",
                None,
                "Liquibase to use: the absolute path of its program or directory, or a name on "
                "the PATH; null looks for liquibase on the PATH, then for the package that "
                "sqlrs-engine[liquibase] brings. A request may name another.",
                minLength=1,
                pattern=r"^[^\x00-\x1f]*$",
            ),
            mode=_choice(
                "session",
                ("session", "command"),
                "How changesets are applied: by one Liquibase process a job, or by one a "
                "changeset, on Liquibase's own command line. The states are the same.",
            ),
        ),
        pool=_object(
            "Instances started before anyone asks for them.",
            closed=True,
            enabled=_leaf(
                "boolean",
                True,
                "Whether clones of the states asked for lately are kept running, so that the "
                "next instance is there at once.",
            ),
            maxStandbys=_leaf(
                "integer", 8, "Most clones kept running, of all states together.", minimum=0
            ),
            maxMemory=_leaf(
                "integer",
                256 * 1024 * 1024,
                "Most memory in bytes that they may take, as measured when they start.",
                minimum=0,
            ),
            reserveMemory=_leaf(
                "integer",
                None,
                "Bytes of the machine's memory that stay available; with less, no clone is "
                "kept. null means a tenth of it.",
                minimum=0,
            ),
            idle=_duration("10m", "How long a state's clones are kept after its last request."),
        ),
        postgres=_object(
            "PostgreSQL servers.",
            closed=True,
            osUser=_leaf(
                "string",
                None,
                "Operating system user that runs the servers when the engine is root, which "
                "PostgreSQL refuses to be; null takes sqlrs, if there is such a user, else a user "
                "id that nobody has.",
                minLength=1,
                pattern=r"^[^\s:/]+$",
                restart=True,
            ),
            settings={
                "type": ["object", "null"],
                "default": {},
                "description": "Server settings (as in postgresql.conf) for new and restarted "
                "instances, and for the servers that build states: other settings, other states.",
                "propertyNames": {
                    "pattern": r"^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$",
                },
                "x-reserved-names": list(reserved.NAMES),
                "additionalProperties": {
                    "type": ["string", "number", "boolean"],
                    "pattern": r"^[^\x00-\x1f]*$",
                },
            },
        ),
    ),
}
