"""``engine.json``: where clients find a running engine and its token.

The token in it opens the engine, so the file is private to its owner from its first
byte on, and its directory must not let anyone else put another file in its place.
"""

import contextlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .directories import private_directory
from .errors import Conflict


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


def make_directory(path: Path) -> None:
    """Make the directory of engine files. Raises what ``private_directory`` does."""
    private_directory(path, "the directory of the engine file")


def check_owner(path: Path) -> None:
    """Raise Conflict when the file is another user's, who would be sent what is meant for us.

    Nothing happens when there is no file.
    """
    with contextlib.suppress(FileNotFoundError):
        owner = path.stat().st_uid
        if owner != os.geteuid():
            raise Conflict(
                "the engine file belongs to another user",
                f"{path} is owned by uid {owner}, and this is uid {os.geteuid()}",
            )


def write(path: Path, record: EngineRecord) -> None:
    """Put the file in place atomically, readable by its owner only."""
    make_directory(path.parent)
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
