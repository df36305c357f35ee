"""The configuration in force: defaults of the schema, and overrides from a JSON file."""

import contextlib
import copy
import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlrs_engine import durations
from sqlrs_engine.errors import InvalidArgument, NotFound
from sqlrs_engine.host.disk_space import space_on

from . import paths, schema
from .problems import Problem, read
from .validation import Validation, fold_case, merge

TEMPORARY = ".config-"
"""The prefix of the names of files that are about to become the configuration."""

_log = logging.getLogger(__name__)

Tree = dict[str, Any]
OnChange = Callable[[str], None]
Check = Callable[[Any], object]
T = TypeVar("T")


class Config:
    """Overrides in a file, over defaults; safe to use from any thread.

    Readers do not wait for a change that is being checked or written: the trees are replaced as
    a whole, never changed.

    A value of null stands for the default. A change that makes any value invalid is refused as a
    whole, whether it sets a value or an object around it.
    """

    def __init__(self, path: Path) -> None:
        """Read the overrides of a file, which need not exist.

        Values that cannot be used are left out and listed in ``problems``.
        """
        self._path = path
        self._lock = threading.RLock()
        self._callbacks: list[OnChange] = []
        self._schema = schema.build()
        self._defaults = schema.defaults(self._schema)
        self._leaves = dict(schema.leaves(self._schema))
        self._ignore_case = [p for p, leaf in self._leaves.items() if leaf.get("x-ignore-case")]
        self._validation = Validation(self._schema)
        self._checks: dict[str, Check] = {}
        self._overrides, self.problems = read(path, self._validation)
        self._rejected = bool(self.problems)
        self._effective = self._merged(self._overrides)

    def get(self, path: str, effective: bool = False) -> Any:
        """Return the override at a path, or with ``effective`` the value in force there.

        Raises NotFound when there is none, InvalidArgument when it is not a path.
        """
        segments = paths.parse(path)
        tree = self._effective if effective else self._overrides
        return copy.deepcopy(paths.lookup(tree, segments))

    def effective(self) -> Tree:
        """Return the whole configuration in force."""
        return copy.deepcopy(self._effective)

    def overrides(self) -> Tree:
        """Return the overrides."""
        return copy.deepcopy(self._overrides)

    def set(self, path: str, value: Any) -> None:
        """Override the value, or the whole object, at a path; None restores the default.

        Raises InvalidArgument when the configuration would not be valid with it, StorageFull.
        """
        segments = paths.parse(path)
        with self._lock:
            overrides = copy.deepcopy(self._overrides)
            if value is None and not self._may_be_null(segments):
                with contextlib.suppress(NotFound):
                    paths.delete(overrides, segments)
            else:
                paths.assign(overrides, segments, copy.deepcopy(value))
            self._replace(overrides)
        self._notify(paths.join(segments))

    def remove(self, path: str) -> Any:
        """Drop the override at a path; return the value in force now, None if there is none.

        Raises NotFound when there is no override, InvalidArgument when the configuration
        would not be valid without it, StorageFull.
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

        Raises KeyError when the schema has no such path: an error in the program.
        """
        return self.values(path)[0]

    def values(self, *wanted: str) -> list[Any]:
        """Return what ``value`` does for several paths, with no change in between."""
        for path in wanted:
            if path not in self._leaves:
                raise KeyError(path)
        tree = fold_case(self._effective, self._ignore_case)
        return [copy.deepcopy(paths.lookup(tree, paths.parse(path))) for path in wanted]

    def settle(self, path: str, use: Callable[[Any], T]) -> T:
        """Return the result of ``use`` for the value in force, or for the default if that fails.

        ``use`` raises InvalidArgument for a value that does not work on this machine. This is
        added to ``problems`` and does not prevent the start.
        """
        try:
            return use(self.value(path))
        except InvalidArgument as error:
            default = self._leaves[path]["default"]
            if self.value(path) == default:
                raise
            self.problems.append(Problem(path, f"{path}: {error}"))
            return use(default)

    def check(self, path: str, check: Check) -> None:
        """Check each new value of a path before it is accepted.

        ``check`` raises InvalidArgument, with the reason, for a value that does not work here.
        """
        with self._lock:
            self._checks[path] = check

    def seconds(self, path: str) -> float:
        """Return the duration in force at a path of the schema, in seconds."""
        return durations.parse(self.value(path))

    def needs_restart(self, path: str) -> bool:
        """Return whether a change at a path or below takes effect at the next start."""
        return any(
            f"{path}.".startswith(f"{known}.") or known.startswith(f"{path}.")
            for known, leaf in self._leaves.items()
            if leaf.get("x-restart")
        )

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Call back with the canonical path after each change; return a function that ends this.

        The callback runs in the thread that made the change.
        """
        with self._lock:
            self._callbacks.append(callback)

        def end() -> None:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

        return end

    def _may_be_null(self, segments: paths.Segments) -> bool:
        """Return whether null can be stored at a path: not for objects and their members."""
        path = paths.join(segments)
        return path in self._leaves or not any(
            path.startswith(f"{leaf}.") or leaf.startswith(f"{path}.") for leaf in self._leaves
        )

    def _replace(self, overrides: Tree) -> None:
        """Validate, then save, then use new overrides."""
        self._validation.check(overrides)
        effective = self._merged(overrides)
        self._check_here(effective)
        self._save(overrides)
        self._overrides, self._effective = overrides, effective

    def _check_here(self, effective: Tree) -> None:
        """Run the checks of the values that change. Raises InvalidArgument."""
        for path, check in self._checks.items():
            keys = paths.parse(path)
            value = paths.lookup(effective, keys)
            if value != paths.lookup(self._effective, keys):
                try:
                    check(value)
                except InvalidArgument as error:
                    raise InvalidArgument(
                        f"this machine cannot use {value!r} for {path}: choose another value",
                        str(error),
                    ) from error

    def _keep_rejected(self) -> None:
        """Keep a file that the engine could not use, before it is replaced."""
        if self._rejected:
            with contextlib.suppress(FileNotFoundError):
                self._path.replace(self._path.with_name(f"{self._path.name}.rejected"))
            self._rejected = False

    def _merged(self, overrides: Tree) -> Tree:
        return merge(self._defaults, overrides)

    def _save(self, overrides: Tree) -> None:
        """Replace the file in one step; mkstemp makes it mode 0600."""
        text = json.dumps(overrides, indent=2, ensure_ascii=False) + "\n"
        with space_on(self._path.parent):
            self._write(text)

    def _write(self, text: str) -> None:
        handle, temporary = tempfile.mkstemp(prefix=TEMPORARY, dir=self._path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            self._keep_rejected()
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
                # The change is saved: the failure of a listener does not undo it.
                _log.exception("cannot apply the change of %s", path)
