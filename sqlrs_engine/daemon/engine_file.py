"""``engine.json``, which tells clients the address of a running engine and its token.

It holds the token, so only its owner can read it from the first byte on, and no other user can
replace it.
"""

import contextlib
import json
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlrs_engine.errors import Conflict
from sqlrs_engine.host.private_directories import private_directory

_ENDPOINT = re.compile(r"(?:\[[^\]\s/]+\]|[\w.-]+):[0-9]{1,5}")
_PIDS = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """A running engine: ``endpoint`` is ``host:port`` without a scheme.

    ``state_store`` is the root of its state store; other implementations of the engine leave it
    out.
    """

    endpoint: str
    pid: int
    started_at: str
    auth_token: str
    version: str
    instance_id: str
    state_store: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the object to write to the file."""
        return {
            "endpoint": self.endpoint,
            "pid": self.pid,
            "startedAt": self.started_at,
            "authToken": self.auth_token,
            "version": self.version,
            "instanceId": self.instance_id,
            **({"stateStore": self.state_store} if self.state_store else {}),
        }

    @classmethod
    def from_json(cls, fields: Any) -> "EngineRecord":
        """Return the record that an object of the file describes.

        Raises:
            ValueError: The object does not describe an engine.
        """
        try:
            record = cls(
                endpoint=str(fields["endpoint"]),
                pid=int(fields["pid"]),
                started_at=str(fields["startedAt"]),
                auth_token=str(fields["authToken"]),
                version=str(fields["version"]),
                instance_id=str(fields["instanceId"]),
                state_store=fields.get("stateStore"),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an engine file: {error}") from error
        is_usable = (
            _ENDPOINT.fullmatch(record.endpoint)
            and 0 < record.pid < _PIDS
            and isinstance(record.state_store, str | None)
        )
        if not is_usable:
            raise ValueError("not an engine file: no such endpoint, process or store")
        return record

    @property
    def base_url(self) -> str:
        """The engine's address as a URL."""
        return f"http://{self.endpoint}"


def make_directory(path: Path) -> None:
    """Make the directory of the engine file. Raises what ``private_directory`` raises."""
    private_directory(path, "the directory of the engine file")


def check_owner(path: Path) -> None:
    """Check that the engine file, if there is one, belongs to the current user.

    Its owner receives the token and the scripts of every client that uses it.

    Raises:
        Conflict: The file belongs to another user.
    """
    with contextlib.suppress(FileNotFoundError):
        owner = path.stat().st_uid
        if owner != os.geteuid():
            raise Conflict(
                "the engine file belongs to another user",
                f"{path} is owned by uid {owner}, and this is uid {os.geteuid()}; use another "
                "--state-dir, or run as its owner",
            )


def temporary_prefix(path: Path) -> str:
    """Return the prefix of the temporary files that become the engine file ``path``."""
    return f".{path.name}."


def write(path: Path, record: EngineRecord) -> None:
    """Write the engine file atomically, readable by its owner only.

    ``store.json`` beside it records the location of the store, for the next engine.
    """
    make_directory(path.parent)
    if record.state_store and last_store(path) != Path(record.state_store):
        # On a full disk the engine starts without it, and the next engine writes it.
        with contextlib.suppress(OSError):
            _replace(_pointer(path), {"stateStore": record.state_store})
    _replace(path, record.to_json())


def last_store(path: Path) -> Path | None:
    """Return the state store of the last engine with this engine file, None if it is gone."""
    try:
        store = Path(json.loads(_pointer(path).read_text(encoding="utf-8"))["stateStore"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return store if store.is_absolute() and store.is_dir() else None


def _pointer(path: Path) -> Path:
    return path.with_name("store.json")


def _replace(path: Path, fields: dict[str, Any]) -> None:
    temporary = path.with_name(f"{temporary_prefix(path)}{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(fields, file, indent=2)
            file.write("\n")
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise


def read(path: Path) -> EngineRecord | None:
    """Return the record in the engine file, None when there is no usable file."""
    try:
        return EngineRecord.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return None


def remove_if_ours(path: Path, instance_id: str) -> bool:
    """Delete the file unless another engine has replaced it; return whether it was deleted."""
    record = read(path)
    if record is None or record.instance_id != instance_id:
        return False
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return True
