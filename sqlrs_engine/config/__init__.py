"""The engine's configuration: defaults from the schema, overrides from one JSON file."""

import contextlib
import copy
import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import durations
from ..errors import InvalidArgument, NotFound
from . import paths, schema
from .validation import Validation, fold_case

__all__ = ["Config"]

_log = logging.getLogger(__name__)

Tree = dict[str, Any]
OnChange = Callable[[str], None]


class Config:
    """Overrides in a file, over defaults; safe to use from any thread.

    A value of null stands for the default. What a change would make invalid is refused
    as a whole, whether it sets a value or an object around it.
    """

    def __init__(self, path: Path) -> None:
        """Read the overrides of a file, which need not exist.

        Raises InvalidArgument when the file cannot be used; it is left as it is.
        """
        self._path = path
        self._lock = threading.RLock()
        self._callbacks: list[OnChange] = []
        self._schema = schema.build()
        self._defaults = schema.defaults(self._schema)
        self._leaves = dict(schema.leaves(self._schema))
        self._ignore_case = [p for p, leaf in self._leaves.items() if leaf.get("x-ignore-case")]
        self._validation = Validation(self._schema)
        self._overrides = self._load()
        self._effective = self._merged(self._overrides)

    def get(self, path: str, effective: bool = False) -> Any:
        """Return the override at a path, or with ``effective`` what is in force there.

        Raises NotFound when there is none, InvalidArgument when it is no path.
        """
        segments = paths.parse(path)
        with self._lock:
            tree = self._effective if effective else self._overrides
            return copy.deepcopy(paths.lookup(tree, segments))

    def effective(self) -> Tree:
        """Return the whole configuration in force."""
        with self._lock:
            return copy.deepcopy(self._effective)

    def overrides(self) -> Tree:
        """Return what differs from the defaults."""
        with self._lock:
            return copy.deepcopy(self._overrides)

    def set(self, path: str, value: Any) -> None:
        """Override the value, or the whole object, at a path.

        Raises InvalidArgument when the configuration would not be valid with it.
        """
        segments = paths.parse(path)
        with self._lock:
            overrides = copy.deepcopy(self._overrides)
            paths.assign(overrides, segments, copy.deepcopy(value))
            self._replace(overrides)
        self._notify(paths.join(segments))

    def remove(self, path: str) -> Any:
        """Drop the override at a path; return what is in force there now, None if nothing.

        Raises NotFound when there is no override, InvalidArgument when the configuration
        would not be valid without it.
        """
        segments = paths.parse(path)
        with self._lock:
            overrides = copy.deepcopy(self._overrides)
            paths.delete(overrides, segments)
            self._replace(overrides)
            try:
                remaining = self.get(path, effective=True)
            except NotFound:
                remaining = None
        self._notify(paths.join(segments))
        return remaining

    def schema(self) -> schema.Schema:
        """Return the JSON schema of the configuration."""
        return copy.deepcopy(self._schema)

    def value(self, path: str) -> Any:
        """Return the value in force at a path of the schema, in its canonical form.

        Raises KeyError when the schema has no such path: a mistake in the program.
        """
        if path not in self._leaves:
            raise KeyError(path)
        with self._lock:
            tree = fold_case(self._effective, self._ignore_case)
            return copy.deepcopy(paths.lookup(tree, paths.parse(path)))

    def seconds(self, path: str) -> float:
        """Return the duration in force at a path of the schema, in seconds."""
        return durations.parse(self.value(path))

    def needs_restart(self, path: str) -> bool:
        """Tell whether a change at a path, or of something below, waits for a restart."""
        return any(
            f"{path}.".startswith(f"{known}.") or known.startswith(f"{path}.")
            for known, leaf in self._leaves.items()
            if leaf.get("x-restart")
        )

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Call back, with the canonical path, after each change; return what ends that.

        The callback runs in the thread that made the change.
        """
        with self._lock:
            self._callbacks.append(callback)

        def end() -> None:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

        return end

    def _load(self) -> Tree:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable(str(error)) from error
        try:
            overrides = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._unusable(f"it is not JSON: {error}") from error
        if not isinstance(overrides, dict):
            raise self._unusable("it must hold a JSON object")
        try:
            self._check(overrides)
        except InvalidArgument as error:
            raise self._unusable(error.details or error.message) from error
        return overrides

    def _unusable(self, reason: str) -> InvalidArgument:
        return InvalidArgument(
            "the configuration file cannot be used",
            f"{self._path}: {reason}; correct the file, or delete it to return to the defaults",
        )

    def _replace(self, overrides: Tree) -> None:
        """Validate, then save, then use new overrides."""
        effective = self._check(overrides)
        self._save(overrides)
        self._overrides, self._effective = overrides, effective

    def _check(self, overrides: Tree) -> Tree:
        """Return what the overrides put in force. Raises InvalidArgument."""
        self._validation.check_values(overrides)
        effective = self._merged(overrides)
        self._validation.check_relations(effective)
        return effective

    def _merged(self, overrides: Tree) -> Tree:
        return _merge(self._defaults, overrides)

    def _save(self, overrides: Tree) -> None:
        """Replace the file in one step; mkstemp makes it mode 0600."""
        text = json.dumps(overrides, indent=2, ensure_ascii=False) + "\n"
        handle, temporary = tempfile.mkstemp(prefix=".config-", dir=self._path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self._path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()
            raise

    def _notify(self, path: str) -> None:
        with self._lock:
            callbacks = list(self._callbacks)
        for callback in callbacks:
            try:
                callback(path)
            except Exception:
                # The change is made and saved; one listener's failure is not its maker's.
                _log.exception("cannot apply the change of %s", path)


def _merge(defaults: Tree, overrides: Tree) -> Tree:
    """Lay overrides over defaults, object by object; null leaves a default in force."""
    merged = copy.deepcopy(defaults)
    for key, value in overrides.items():
        default = merged.get(key)
        if isinstance(default, dict) and isinstance(value, dict):
            merged[key] = _merge(default, value)
        elif value is not None or key not in merged:
            merged[key] = copy.deepcopy(value)
    return merged
