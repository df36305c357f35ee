"""The images that states were made with, so that an error can name the way back to one."""

import logging
import shlex
import threading
from pathlib import Path

from sqlrs_engine.postgres.images.image_layout import read_json, write_json
from sqlrs_engine.postgres.images.image_store import StoredImage
from sqlrs_engine.postgres.images.references import parse_reference

_log = logging.getLogger(__name__)


class KnownImages:
    """Commands by image id, in a file; thread-safe. Losing an entry costs an advice."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._kept: set[str] = set()

    def add(self, image_id: str, image: StoredImage) -> None:
        """Keep how to get an image, unless that is kept already."""
        if image_id in self._kept:
            return
        with self._lock:
            known = read_json(self._path) or {}
            if image_id not in known:
                try:
                    write_json(self._path, known | {image_id: _command(image)})
                except OSError as error:
                    _log.warning("cannot keep where an image comes from: %s", error)
                    return
            self._kept.add(image_id)

    def command(self, image_id: str) -> str | None:
        """Return the command that gets an image again, None if it is not known."""
        command = (read_json(self._path) or {}).get(image_id)
        return command if isinstance(command, str) else None


def _command(image: StoredImage) -> str:
    for name in map(parse_reference, image.references):
        # Names from a file say nothing about what a registry has.
        if name.registry == image.origin:
            pinned = "" if name.digest else f"@{image.digest}"
            return f"sqlrs-engine postgres pull {name.familiar}{pinned}"
    return f"sqlrs-engine postgres load {shlex.quote(image.origin)}"
