"""``engine.json``: where clients find a running engine and its token.

The token in it opens the engine, so the file is private to its owner from its first
byte on, and its directory must not let anyone else put another file in its place.
"""

import contextlib
import json
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import Conflict, InvalidArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """What an engine says about itself: ``endpoint`` is ``host:port`` without a scheme."""

    endpoint: str
    pid: int
    started_at: str
    auth_token: str
    version: str
    instance_id: str

    def to_json(self) -> dict[str, Any]:
        """The object written to the file."""
        return {
            "endpoint": self.endpoint,
            "pid": self.pid,
            "startedAt": self.started_at,
            "authToken": self.auth_token,
            "version": self.version,
            "instanceId": self.instance_id,
        }

    @classmethod
    def from_json(cls, fields: Any) -> "EngineRecord":
        """Read the object back. Raises ValueError when it is not one of ours."""
        try:
            return cls(
                endpoint=str(fields["endpoint"]),
                pid=int(fields["pid"]),
                started_at=str(fields["startedAt"]),
                auth_token=str(fields["authToken"]),
                version=str(fields["version"]),
                instance_id=str(fields["instanceId"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an engine file: {error}") from error

    @property
    def base_url(self) -> str:
        """The engine's address as a URL."""
        return f"http://{self.endpoint}"


def private_directory(path: Path) -> None:
    """Create ``path`` (0700) or check that nobody else can change what is in it.

    Raises Conflict for a directory of another user or a shared one such as ``/tmp``,
    InvalidArgument for something that is not a directory.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise InvalidArgument("not a directory", str(path))
    if status.st_uid != os.geteuid():
        raise Conflict(
            "the directory of the engine file belongs to another user",
            f"{path} is owned by uid {status.st_uid}; use a directory of your own",
        )
    if status.st_mode & stat.S_ISVTX:
        raise Conflict(
            "the directory of the engine file is shared", f"{path}: use a directory inside it"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        path.chmod(stat.S_IMODE(status.st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))


def write(path: Path, record: EngineRecord) -> None:
    """Put the file in place atomically, readable by its owner only."""
    private_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(record.to_json(), file, indent=2)
            file.write("\n")
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise


def read(path: Path) -> EngineRecord | None:
    """Return the record, or None when there is no usable file."""
    try:
        return EngineRecord.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return None


def remove_if_ours(path: Path, instance_id: str) -> bool:
    """Delete the file unless another engine has replaced it; say whether it was ours."""
    record = read(path)
    if record is None or record.instance_id != instance_id:
        return False
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return True
