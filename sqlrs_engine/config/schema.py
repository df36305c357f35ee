"""The configuration's JSON schema: every path with its type, default and meaning.

Beside the standard keywords (draft 2020-12):

* ``format: go-duration``: text such as ``10m`` or ``1h30m``, not negative;
* ``x-ignore-case``: letter case and surrounding blanks of the value do not matter;
* ``x-reserved-names``: keys that the object must not have; no key may occur twice. The case
  of ASCII letters does not matter;
* ``x-role-name``: the name of a role that PostgreSQL can create, and that no state has yet;
* ``x-restart``: a change takes effect when the engine starts next.

Paths that are not described here are accepted with any value, except below
``images``, ``instances``, ``liquibase``, ``pool``, ``postgres`` and ``sources``, where they can
only be typing errors.
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
    """Yield the paths that hold values, each with its schema."""
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


# A host as image references have it: a name, an IPv4 address, or an IPv6 address in brackets.
_HOST = r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:[0-9]{1,5})?"

_SCHEMA: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "sqlrs engine configuration",
    **_object(
        "Settings that override the engine's defaults; null means the default.",
        log=_object(
            "The engine's log.",
            level=_choice(
                "debug",
                ("debug", "info", "warn", "error"),
                "The least severe level that is logged.",
                **{"x-ignore-case": True},
            ),
        ),
        snapshot=_object(
            "The cloning of states.",
            backend=_choice(
                "auto",
                ("auto", "overlay", "btrfs", "reflink", "copy"),
                "The method of cloning state directories; auto uses the fastest one that the "
                "state store's filesystem supports.",
                restart=True,
            ),
        ),
        container=_object(
            "Containers, which this engine does not use.",
            runtime=_choice(
                "auto",
                ("auto", "docker", "podman"),
                "No effect, whatever the value: nothing is run in a container. The engine unpacks "
                "an image and runs its PostgreSQL as an ordinary program; see images.pull. The "
                "values are those that the sqlrs CLI knows.",
            ),
        ),
        images=_object(
            "Images of registries.",
            closed=True,
            pull=_choice(
                "missing",
                ("missing", "never", "always"),
                "Whether a prepare pulls an image for which this machine has no PostgreSQL: "
                "missing pulls it, never fails instead, always also looks up the tag in the "
                "registry each time and pulls the image again when the tag has changed. "
                "Unless it is never, a step that lacks pgcrypto downloads it.",
            ),
            registries={
                "type": ["object", "null"],
                "default": {},
                "description": (
                    "Registries by host, such as docker.io or localhost:5000. mirrors are tried in "
                    "their order before the registry itself; insecure allows plain HTTP and "
                    "certificates that cannot be verified, as is always allowed for loopback."
                ),
                "propertyNames": {
                    "pattern": f"^{_HOST}$",
                    "description": "the host of a registry, such as docker.io or localhost:5000",
                },
                "additionalProperties": {
                    "type": "object",
                    "properties": {
                        "mirrors": {
                            "type": "array",
                            "description": "Hosts, each with a path if its repositories have one.",
                            "items": {
                                "type": "string",
                                "pattern": f"^{_HOST}(/[A-Za-z0-9._/-]+)?$",
                            },
                        },
                        "insecure": {"type": "boolean"},
                    },
                    "additionalProperties": False,
                },
            },
        ),
        orchestrator=_object(
            "Prepare jobs.",
            jobs=_object(
                "Prepare jobs.",
                maxIdentical=_leaf(
                    "integer",
                    2,
                    "The number of finished jobs kept per set of identical inputs; older jobs are "
                    "deleted, their instances stay. 0 keeps all.",
                    minimum=0,
                ),
                maxFinished=_leaf(
                    "integer",
                    1000,
                    "The total number of finished jobs kept; the oldest are deleted, their states "
                    "and instances stay. 0 keeps all.",
                    minimum=0,
                ),
                maxAge=_duration(
                    "720h",
                    "The retention of a finished job and its events; its states and its instance "
                    "stay. 0 keeps it forever.",
                ),
                workers=_leaf(
                    "integer",
                    4,
                    "The number of jobs that build states at the same time; further jobs wait. "
                    "Jobs whose states are all cached do not count.",
                    minimum=1,
                    maximum=256,
                    restart=True,
                ),
            ),
        ),
        cache=_object(
            "Cached states.",
            capacity=_object(
                "The disk space of the cached states.",
                maxBytes=_leaf(
                    "integer",
                    0,
                    "The limit of the cached states' apparent size in bytes; 0 sets no limit but "
                    "the disk and the reserve; where clones share their blocks, only free space "
                    "counts then.",
                    minimum=0,
                ),
                reserveBytes=_leaf(
                    "integer",
                    None,
                    "The bytes of the filesystem that eviction keeps free; null means 10 GiB or a "
                    "tenth of the filesystem, whichever is more, but at most half of it.",
                    minimum=0,
                ),
                highWatermark=_leaf(
                    "number",
                    0.90,
                    "The share of the limit at which eviction starts; above lowWatermark.",
                    exclusiveMinimum=0,
                    maximum=1,
                ),
                lowWatermark=_leaf(
                    "number",
                    0.80,
                    "The share of the limit at which eviction stops; below highWatermark.",
                    exclusiveMinimum=0,
                    maximum=1,
                ),
                minStateAge=_duration(
                    "10m",
                    "Younger states are not evicted, except the middle states of a chain that does "
                    "not fit otherwise.",
                ),
            ),
        ),
        sources=_object(
            "Files of clients on other machines.",
            closed=True,
            blobs=_object(
                "Uploaded files.",
                closed=True,
                maxBytes=_leaf(
                    "integer",
                    256 * 1024 * 1024,
                    "The size in bytes of the largest file that a client may upload.",
                    minimum=1,
                ),
                ttl=_duration(
                    "24h",
                    "The retention of an uploaded file after its last use if no unfinished job "
                    "needs it; at least 10 minutes.",
                ),
            ),
        ),
        instances=_object(
            "Running instances.",
            closed=True,
            ttl=_duration(
                "24h",
                "The time to live of an instance after its last activity, unless it has a name, is "
                "protected or has an explicit time to live; 0 means forever.",
            ),
            ports=_object(
                "TCP ports on which instances listen.",
                closed=True,
                first=_port(20000, "The first port; not above last."),
                last=_port(29999, "The last port."),
            ),
            maxRunning=_leaf(
                "integer", 0, "The maximum number of instances; 0 means no limit.", minimum=0
            ),
        ),
        liquibase=_object(
            "Liquibase, which applies changelogs.",
            closed=True,
            exec=_leaf(
                "string",
                None,
                "The Liquibase to use: the absolute path of its program or directory, or a name "
                "on the PATH; null looks for liquibase on the PATH, then for the package that "
                "sqlrs-engine[liquibase] installs. A request may name another.",
                minLength=1,
                pattern=r"^[^\x00-\x1f]*$",
            ),
            mode=_choice(
                "session",
                ("session", "command"),
                "The way changesets are applied: session uses one Liquibase process per job, "
                "command runs Liquibase's own command line once per changeset. The states are the "
                "same.",
            ),
        ),
        pool=_object(
            "The warm pool: standbys that run before they are requested.",
            closed=True,
            enabled=_leaf(
                "boolean",
                True,
                "Whether the pool keeps clones of recently requested states running, so that the "
                "next instance is ready at once.",
            ),
            maxStandbys=_leaf(
                "integer", 8, "The maximum number of standbys, for all states together.", minimum=0
            ),
            maxMemory=_leaf(
                "integer",
                256 * 1024 * 1024,
                "The maximum memory of all standbys in bytes, as measured when they start.",
                minimum=0,
            ),
            reserveMemory=_leaf(
                "integer",
                None,
                "The bytes of the machine's memory that stay available; with less, the pool "
                "keeps no standby. null means a tenth of the memory.",
                minimum=0,
            ),
            idle=_duration("10m", "The retention of a state's standbys after its last request."),
        ),
        postgres=_object(
            "PostgreSQL servers.",
            closed=True,
            osUser=_leaf(
                "string",
                None,
                "The operating system user that runs the servers when the engine is root, "
                "because PostgreSQL refuses to run as root; null means the user sqlrs if it "
                "exists, else an unused user id.",
                minLength=1,
                pattern=r"^[^\s:/]+$",
                restart=True,
            ),
            roles={
                "type": ["array", "null"],
                "default": [],
                "description": (
                    "The names of roles that exist in every new state besides the superusers sqlrs "
                    "and postgres. They may log in but have no password, and no privileges but "
                    "those that scripts grant. Other roles make other states."
                ),
                "items": {
                    "type": "string",
                    "minLength": 1,
                    "pattern": r"^[^\x00-\x1f\x7f]*$",
                    "x-role-name": True,
                },
                "uniqueItems": True,
                "maxItems": 1000,
            },
            locale=_leaf(
                "string",
                None,
                "The locale of new states, a UTF-8 locale of the C library such as en_US.utf8; "
                "null means the image's own, or C.UTF-8 if it has none. Messages are English in "
                "any case. Another locale makes other states.",
                pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,62}$",
            ),
            settings={
                "type": ["object", "null"],
                "default": {},
                "description": (
                    "Server settings (as in postgresql.conf) for new and restarted instances and "
                    "for the servers that build states. Other settings make other states."
                ),
                "propertyNames": {
                    "pattern": r"^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$",
                    "description": "a setting's name",
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
