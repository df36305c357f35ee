"""The configuration in force: defaults of the schema, and overrides from a JSON file."""

import contextlib
import copy
import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sqlrs_engine import durations
from sqlrs_engine.errors import InvalidArgument, NotFound
from sqlrs_engine.host.disk_space import space_on

from . import paths, schema
from .problems import Problem, read
from .validation import Validation, fold_case, merge

TEMPORARY = ".config-"
"""The prefix of temporary files that replace the configuration file once they are complete."""

_log = logging.getLogger(__name__)

Tree = dict[str, Any]
OnChange = Callable[[str], None]
Check = Callable[[Any], object]
T = TypeVar("T")


class Config:
    """Defaults, and the overrides in a file; safe to use from any thread.

    Readers never wait while a change is checked or written, because the trees are replaced as a
    whole and never modified.

    Null stands for the default. A change that would make any value invalid is refused entirely,
    whether it sets one value or a whole object.
    """

    def __init__(self, path: Path) -> None:
        """Read the overrides from a file, which need not exist.

        Values that cannot be used are ignored and listed in ``problems``.
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
        """Return the override at a path or, with ``effective``, the value in force there.

        Raises NotFound when there is none, InvalidArgument when ``path`` is malformed.
        """
        segments = paths.parse(path)
        tree = self._effective if effective else self._overrides
        with self._explained(segments):
            return copy.deepcopy(paths.lookup(tree, segments))

    def effective(self) -> Tree:
        """Return the whole configuration in force."""
        return copy.deepcopy(self._effective)

    def overrides(self) -> Tree:
        """Return the overrides."""
        return copy.deepcopy(self._overrides)

    def set(self, path: str, value: Any) -> None:
        """Override the value, or the whole object, at a path; None restores the default.

        Raises InvalidArgument when it would make the configuration invalid, StorageFull.
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
        """Remove the override at a path; return the value now in force, None if there is none.

        Raises NotFound when there is no override, InvalidArgument when the configuration would
        be invalid without it, StorageFull.
        """
        segments = paths.parse(path)
        with self._lock:
            overrides = copy.deepcopy(self._overrides)
            with self._explained(segments):
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

        Raises KeyError when the schema has no such path, which is a programming error.
        """
        return self.values(path)[0]

    def values(self, *wanted: str) -> list[Any]:
        """Return the values of several paths, as ``value`` does, all from the same moment."""
        for path in wanted:
            if path not in self._leaves:
                raise KeyError(path)
        tree = fold_case(self._effective, self._ignore_case)
        return [copy.deepcopy(paths.lookup(tree, paths.parse(path))) for path in wanted]

    def settle(self, path: str, use: Callable[[Any], T]) -> T:
        """Return the result of ``use`` for the value in force, or for the default if that fails.

        ``use`` raises InvalidArgument for a value that does not work on this machine. The failure
        is added to ``problems`` and does not prevent the engine from starting.
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
        """Register a check of a path's new values, which runs before they are accepted.

        ``check`` raises InvalidArgument, with the reason, for a value that does not work on this
        machine.
        """
        with self._lock:
            self._checks[path] = check

    def seconds(self, path: str) -> float:
        """Return the duration in force at a path of the schema, in seconds."""
        return durations.parse(self.value(path))

    def needs_restart(self, path: str) -> bool:
        """Return whether a change at or below a path takes effect only at the next start."""
        return any(
            f"{path}.".startswith(f"{known}.") or known.startswith(f"{path}.")
            for known, leaf in self._leaves.items()
            if leaf.get("x-restart")
        )

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Call ``callback`` with the canonical path after each change.

        It runs in the thread that made the change. Returns a function that unregisters it.
        """
        with self._lock:
            self._callbacks.append(callback)

        def end() -> None:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

        return end

    def _may_be_null(self, segments: paths.Segments) -> bool:
        """Return whether null can be stored at a path: at values and unknown paths only."""
        path = paths.join(segments)
        return path in self._leaves or not any(
            path.startswith(f"{leaf}.") or leaf.startswith(f"{path}.") for leaf in self._leaves
        )

    def _replace(self, overrides: Tree) -> None:
        """Validate new overrides, save them, and put them into force."""
        self._validation.check(overrides)
        effective = self._merged(overrides)
        self._check_here(effective)
        self._save(overrides)
        self._overrides, self._effective = overrides, effective

    def _check_here(self, effective: Tree) -> None:
        """Run the registered checks of the values that change. Raises InvalidArgument."""
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
        """Keep a copy of a file that had unusable values before it is replaced."""
        if self._rejected:
            with contextlib.suppress(FileNotFoundError):
                self._path.replace(self._path.with_name(f"{self._path.name}.rejected"))
            self._rejected = False

    def _merged(self, overrides: Tree) -> Tree:
        return merge(self._defaults, overrides)

    def _save(self, overrides: Tree) -> None:
        """Replace the file atomically; mkstemp gives it mode 0600."""
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

    @contextlib.contextmanager
    def _explained(self, segments: paths.Segments) -> Iterator[None]:
        """Add to the details of a NotFound whether the path has a default."""
        try:
            yield
        except NotFound as error:
            path = paths.join(segments)
            details = f"nothing is set at {path}"
            with contextlib.suppress(NotFound):
                paths.lookup(self._effective, segments)
                details += ": its default applies, which effective=true (--effective) shows"
            raise NotFound(error.message, details) from error

    def _notify(self, path: str) -> None:
        with self._lock:
            callbacks = list(self._callbacks)
        for callback in callbacks:
            try:
                callback(path)
            except Exception:
                # The change is saved: the failure of a listener does not undo it.
                _log.exception("cannot apply the change of %s", path)
