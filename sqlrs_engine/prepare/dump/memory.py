"""What was found out about dumps, remembered across engines.

::

    <store>/dumps.json    {key: value}, the latest one last; keys are paths, or ids of kept dumps
"""

import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

_REMEMBERED = 1000

_log = logging.getLogger(__name__)


class Memory:
    """A bounded mapping of texts to JSON values, in a file; thread-safe."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._known: dict[str, Any] | None = None

    def get(self, key: str) -> Any:
        """Return a value, None if there is none."""
        with self._lock:
            return self._load().get(key)

    def put(self, key: str, value: Any) -> None:
        """Remember a value; the oldest one is forgotten for it if there are too many."""
        with self._lock:
            known = self._load()
            if known.get(key) == value:
                return
            known.pop(key, None)
            known[key] = value
            while len(known) > _REMEMBERED:
                del known[next(iter(known))]
            self._store(known)

    def _load(self) -> dict[str, Any]:
        if self._known is None:
            self._known = {}
            try:
                kept = json.loads(self._file.read_text(encoding="utf-8"))
                if isinstance(kept, dict):
                    self._known = kept
            except FileNotFoundError:
                pass  # nothing was found out yet
            except (OSError, ValueError) as error:
                # Dumps are read again.
                _log.warning("ignoring %s: %s", self._file, error)
        return self._known

    def _store(self, known: dict[str, Any]) -> None:
        temporary = self._file.with_suffix(".tmp")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(known, file)
            temporary.replace(self._file)
        except OSError as error:
            # The next engine reads the dumps again.
            _log.warning("cannot write %s: %s", self._file, error)
