"""Labels: a small file beside the database for each row that cannot be computed again.

::

    labels/complete                     every row has its label
    labels/states/<state id>.json       the fields of a row
    labels/instances/<instance id>.json
    labels/names/<name>.json

A label is written when its row is committed, and deleted when the row is deleted. So a container
with a label and without a row means that the database has lost the row, while a container with
neither is unfinished. Labels are not synced and cost some microseconds; containers whose row and
label a power failure has destroyed are set aside, not deleted.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Collection
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar, get_type_hints

import orjson

from sqlrs_engine.host.disk_space import is_full
from sqlrs_engine.host.private_directories import private_directory
from sqlrs_engine.store import Labelled
from sqlrs_engine.store.records import Instance, Name, State

_FILE_MODE = 0o600
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
_COMPLETE = "complete"
_SUFFIX = ".json"

# The first field is the key. The other fields of a row can be computed, or are not needed.
_FIELDS = MappingProxyType(
    {
        State: (
            *("state_id", "parent_state_id", "image_id", "prepare_kind"),
            *(
                "prepare_args_normalized",
                "created_at",
                "size_bytes",
                "boot_id",
                "proven",
                "observed",
            ),
        ),
        Instance: (
            *("instance_id", "image_id", "state_id", "created_at", "port", "password"),
            *("ttl", "protected", "made_for"),
        ),
        Name: ("name", "instance_id", "image_id", "state_id", "state_fingerprint"),
    }
)
_DIRECTORIES = MappingProxyType({State: "states", Instance: "instances", Name: "names"})

R = TypeVar("R", State, Instance, Name)

_log = logging.getLogger(__name__)


class Labels:
    """The labels of one store, a ``store.Watcher``; safe to use from any thread."""

    def __init__(self, store_root: Path) -> None:
        """Make the directories. Raises what ``private_directory`` raises."""
        self._root = store_root / "labels"
        self._writing = threading.Lock()
        for name in _DIRECTORIES.values():
            try:
                private_directory(self._root / name, "the directory of labels")
            except OSError as error:
                if not is_full(error):
                    raise
                _log.warning("no room for labels: %s", error)

    @property
    def complete(self) -> bool:
        """Whether every row had its label at the last use of the store."""
        return (self._root / _COMPLETE).exists()

    def set_complete(self, complete: bool) -> None:
        """Record whether every row has its label. Raises OSError."""
        mark = self._root / _COMPLETE
        if complete:
            mark.touch(_FILE_MODE)
        else:
            mark.unlink(missing_ok=True)

    def stored(self, record: Labelled, changed: Collection[str] | None = None) -> None:
        """Write the label of a row, unless ``changed`` names none of its fields.

        A failure is recorded: the next start writes missing labels.
        """
        fields = _FIELDS[type(record)]
        if changed is not None and not set(changed) & set(fields):
            return
        content = orjson.dumps({name: getattr(record, name) for name in fields})
        path = self._path(type(record), getattr(record, fields[0]))
        try:
            with self._writing:
                self._write(path, content)
        except OSError:
            _log.exception("cannot write the label %s", path)
            with contextlib.suppress(OSError):
                self.set_complete(False)

    def removed(self, kind: type[Labelled], key: str) -> None:
        """Delete the label of a removed row.

        A remaining label does no harm without its container, which is deleted next.
        """
        path = self._path(kind, key)
        try:
            path.unlink(missing_ok=True)
        except OSError:
            _log.exception("cannot delete the label %s", path)

    def keys(self, kind: type[Labelled]) -> set[str]:
        """Return the keys of all labels of a kind. Raises OSError."""
        directory = self._root / _DIRECTORIES[kind]
        try:
            names = [path.name for path in directory.iterdir()]
        except FileNotFoundError:  # the disk was full when it should have been made
            return set()
        return {name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)}

    def has(self, kind: type[Labelled], key: str) -> bool:
        """Return whether there is a label, readable or not."""
        return self._path(kind, key).exists()

    def read(self, kind: type[R], key: str) -> R | None:
        """Return the record in a label; return None when it is missing or unreadable."""
        try:
            values = orjson.loads(self._path(kind, key).read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(values, dict):
            return None
        # Another version of the engine may have written more or fewer fields.
        values = {name: values[name] for name in _FIELDS[kind] if name in values}
        hints = get_type_hints(kind)
        if not all(isinstance(value, hints[name]) for name, value in values.items()):
            return None
        try:
            record = kind(**values)
        except TypeError:
            return None
        return record if getattr(record, _FIELDS[kind][0]) == key else None

    def _path(self, kind: type[Labelled], key: str) -> Path:
        return self._root / _DIRECTORIES[kind] / f"{key}{_SUFFIX}"

    def _write(self, path: Path, content: bytes) -> None:
        """Replace a label in one step, so that readers find the old or the new one."""
        fresh = self._root / "new"  # written by one thread at a time
        descriptor = os.open(fresh, _FLAGS, _FILE_MODE)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)
        fresh.replace(path)
