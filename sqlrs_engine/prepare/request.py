"""The request of a prepare, as submitted and as stored with its job."""

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.sources import Manifest, paths
from sqlrs_engine.store.records import Json

KINDS = ("psql", "lb")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareRequest:
    """The body of ``POST /v1/prepare-jobs``; absent and ``null`` are the same.

    ``work_dir`` is the directory in which psql and Liquibase run; ``stdin`` is what ``-f -``
    reads, in which lone surrogates stand for bytes that are not UTF-8 (PEP 383): these come and go
    as ``stdin_base64``. With a ``source_manifest`` all paths are those of another machine.
    """

    prepare_kind: str
    image_id: str
    psql_args: tuple[str, ...] = ()
    liquibase_args: tuple[str, ...] = ()
    liquibase_exec: str | None = None
    liquibase_exec_mode: str | None = None
    liquibase_env: Json | None = None
    work_dir: str | None = None
    stdin: str | None = None
    source_manifest: Manifest | None = None
    plan_only: bool = False

    @classmethod
    def from_json(cls, body: Json) -> "PrepareRequest":
        """Read a request whose types the API document has checked; other fields pass.

        Raises InvalidArgument without a known kind or without an image, for a ``work_dir`` that is
        not absolute, and for an invalid manifest.
        """
        kind = (body.get("prepare_kind") or "").strip()
        if not kind:
            raise InvalidArgument("prepare_kind is required", f"use one of {', '.join(KINDS)}")
        if kind not in KINDS:
            raise InvalidArgument(
                "unknown prepare_kind", f"{kind!r}: use one of {', '.join(KINDS)}"
            )
        image = (body.get("image_id") or "").strip()
        if not image:
            raise InvalidArgument("image_id is required", "name an image such as postgres:17")
        manifest = body.get("source_manifest")
        return cls(
            prepare_kind=kind,
            image_id=image,
            psql_args=tuple(body.get("psql_args") or ()),
            liquibase_args=tuple(body.get("liquibase_args") or ()),
            liquibase_exec=body.get("liquibase_exec"),
            liquibase_exec_mode=body.get("liquibase_exec_mode"),
            liquibase_env=body.get("liquibase_env"),
            work_dir=_work_dir(body.get("work_dir"), remote=manifest is not None),
            stdin=_stdin(body.get("stdin"), body.get("stdin_base64")),
            source_manifest=None if manifest is None else Manifest.from_json(manifest),
            plan_only=bool(body.get("plan_only")),
        )

    @property
    def lacks_work_dir(self) -> bool:
        """Whether ``work_dir`` is to be a directory of this machine and cannot be entered."""
        if not self.work_dir or self.source_manifest is not None:
            return False
        # Path.is_dir raises where a directory on the way is not open, before 3.14.
        is_directory = os.path.isdir(self.work_dir)  # noqa: PTH112
        return not (is_directory and os.access(self.work_dir, os.X_OK))

    def to_json(self) -> dict[str, Any]:
        """Return the fields that are set; ``from_json`` reads them back."""
        fields: dict[str, Any] = {
            "prepare_kind": self.prepare_kind,
            "image_id": self.image_id,
            "psql_args": list(self.psql_args),
            "liquibase_args": list(self.liquibase_args),
            "liquibase_exec": self.liquibase_exec,
            "liquibase_exec_mode": self.liquibase_exec_mode,
            "liquibase_env": self.liquibase_env,
            "work_dir": self.work_dir,
            **_stdin_json(self.stdin),
            "source_manifest": self.source_manifest and self.source_manifest.to_json(),
            "plan_only": self.plan_only,
        }
        return {name: value for name, value in fields.items() if value not in (None, [], False)}


def _stdin(text: str | None, encoded: str | None) -> str | None:
    if encoded is None:
        return text
    if text is not None:
        raise InvalidArgument("stdin and stdin_base64 exclude each other", "send one of them")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise InvalidArgument("stdin_base64 is not base64", str(error)) from error
    if b"\0" in raw:
        raise InvalidArgument("stdin_base64 contains a NUL character: remove it")
    return raw.decode("utf-8", "surrogateescape")


def _stdin_json(text: str | None) -> dict[str, str]:
    if text is None:
        return {}
    raw = text.encode("utf-8", "surrogateescape")
    try:
        decoded = raw.decode()
    except UnicodeDecodeError:
        return {"stdin_base64": base64.b64encode(raw).decode()}
    # The same object where possible: it may be megabytes, and queued jobs hold both.
    return {"stdin": text if text == decoded else decoded}


def _work_dir(path: str | None, *, remote: bool) -> str | None:
    if not path:
        return None
    if not (paths.is_absolute(path) if remote else Path(path).is_absolute()):
        raise InvalidArgument("work_dir must be absolute", path)
    return path
